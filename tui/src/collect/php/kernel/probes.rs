//! Attaches programs to sites of PHP images and numbers the sites, so that a program knows by its cookie where it was hit.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData, PerCpuArray},
    programs::UProbe,
};
use tusktop_shared::Site;

use super::{
    KernelError,
    attach::{self, Attachment, Place, UprobeType},
    multi::{self, MultiPlace, MultiPrograms},
    program,
};
use crate::collect::{bpf::wire::Wire, php::image::sites::ProbeSite};

/// What to attach to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Number of the image.
    pub image: u32,
    /// A path by which the kernel finds the file.
    pub path: &'a Path,
    /// This process only; `None` for every process that maps the file, now or later.
    pub pid: Option<u32>,
}

/// Programs for probes, loaded when they are first needed, and the sites that they are attached to.
pub(crate) struct Probes {
    uprobe: UprobeType,
    /// `None` where the kernel has no links for several places.
    multi: Option<MultiPrograms>,
    programs: HashMap<&'static str, OwnedFd>,
    sites: BpfHashMap<MapData, u32, Wire<Site>>,
    cookies: HashMap<(u32, u32, u64), u32>,
    /// The program of each number.
    program_of: HashMap<u32, &'static str>,
    hits: PerCpuArray<MapData, u64>,
    /// Numbers that were given back: all below the highest that has no site.
    free: Vec<u32>,
}

impl Probes {
    /// Nothing is attached yet.
    pub(crate) fn new(
        uprobe: UprobeType,
        multi: Option<MultiPrograms>,
        sites: BpfHashMap<MapData, u32, Wire<Site>>,
        hits: PerCpuArray<MapData, u64>,
    ) -> Self {
        let (cookies, program_of) = (HashMap::new(), HashMap::new());
        Self { uprobe, multi, programs: HashMap::new(), sites, cookies, program_of, hits, free: Vec::new() }
    }

    /// Hits so far, by image and program.
    pub(crate) fn hits(&self) -> HashMap<(u32, &'static str), u64> {
        let mut hits = HashMap::new();
        for ((image, ..), cookie) in &self.cookies {
            let Some(program) = self.program_of.get(cookie) else { continue };
            let of_site = self.hits.get(cookie, 0).map_or(0, |of_cpus| of_cpus.iter().sum());
            *hits.entry((*image, *program)).or_default() += of_site;
        }
        hits
    }

    /// Attaches `program` to sites, each with its kind.
    pub(crate) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static str,
        target: Target<'_>,
        sites: &[(u32, &ProbeSite)],
    ) -> Result<Vec<Attachment>, KernelError> {
        let before: Vec<_> =
            sites.iter().map(|(kind, site)| self.cookies.contains_key(&(target.image, *kind, site.address))).collect();
        let attached = self.attach_with_cookies(ebpf, program, target, sites);
        if attached.is_err() {
            self.give_back(target.image, sites, &before);
        }
        attached
    }

    fn attach_with_cookies(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static str,
        target: Target<'_>,
        sites: &[(u32, &ProbeSite)],
    ) -> Result<Vec<Attachment>, KernelError> {
        let mut numbered = Vec::with_capacity(sites.len());
        for (kind, site) in sites {
            let cookie = self.cookie(target.image, *kind, site)?;
            self.program_of.insert(cookie, program);
            numbered.push((u64::from(cookie), *site));
        }
        self.attach_numbered(ebpf, program, target, &numbered)
    }

    /// Attaches `program` to sites, each with a cookie whose meaning is the program's own.
    pub(crate) fn attach_numbered(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static str,
        target: Target<'_>,
        sites: &[(u64, &ProbeSite)],
    ) -> Result<Vec<Attachment>, KernelError> {
        if let Some(attached) = self.attach_at_once(program, target, sites) {
            return Ok(vec![attached]);
        }
        if !self.programs.contains_key(program) {
            self.programs.insert(program, load(ebpf, program)?);
        }
        let mut attachments = Vec::with_capacity(sites.len());
        for (cookie, site) in sites {
            let (path, pid, cookie) = (target.path, target.pid, *cookie);
            let place = Place { path, offset: site.offset, semaphore: site.semaphore, cookie, pid };
            attachments.push(attach::attach(self.uprobe, self.programs[program].as_fd(), place)?);
        }
        Ok(attachments)
    }

    /// One link for all sites. `None` where that does not work: then each is attached by itself, which also says what is wrong.
    ///
    /// For one process it is not tried: before Linux 6.10 such a link is for one thread (46ba0e49b642, "bpf: fix
    /// multi-uprobe PID filtering logic").
    fn attach_at_once(
        &mut self,
        program: &'static str,
        target: Target<'_>,
        sites: &[(u64, &ProbeSite)],
    ) -> Option<Attachment> {
        let multi = self.multi.as_mut().filter(|_| target.pid.is_none() && !sites.is_empty())?;
        let Ok(program) = multi.program(program) else {
            self.multi = None;
            return None;
        };
        let places: Vec<_> = sites
            .iter()
            .map(|(cookie, site)| MultiPlace { offset: site.offset, semaphore: site.semaphore, cookie: *cookie })
            .collect();
        multi::attach(program, target.path, &places).ok().map(Attachment::of_link)
    }

    /// The number of a site; one that was attached before keeps its number.
    fn cookie(&mut self, image: u32, kind: u32, site: &ProbeSite) -> Result<u32, KernelError> {
        let key = (image, kind, site.address);
        if let Some(&cookie) = self.cookies.get(&key) {
            return Ok(cookie);
        }
        let next = self.free.last().copied().unwrap_or(self.cookies.len() as u32);
        let wire = Site { address: site.address, image, kind, arguments: site.arguments };
        self.sites.insert(next, Wire(wire), 0).map_err(|source| KernelError::Map { name: "SITES", source })?;
        self.free.pop();
        self.cookies.insert(key, next);
        Ok(next)
    }

    /// Gives back the numbers of an image, from which everything was detached.
    pub(crate) fn forget(&mut self, image: u32) {
        for (_, cookie) in self.cookies.extract_if(|(of, ..), _| *of == image) {
            // Without its entry in the map a hit is nobody's.
            let _ = self.sites.remove(&cookie);
            self.program_of.remove(&cookie);
            self.free.push(cookie);
        }
    }

    /// Gives back the number of a site that could not be attached to.
    fn give_back(&mut self, image: u32, sites: &[(u32, &ProbeSite)], before: &[bool]) {
        for ((kind, site), known) in sites.iter().zip(before) {
            if !known && let Some(cookie) = self.cookies.remove(&(image, *kind, site.address)) {
                let _ = self.sites.remove(&cookie);
                self.free.push(cookie);
            }
        }
    }
}

fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, KernelError> {
    let uprobe: &mut UProbe = program(ebpf, name)?;
    uprobe
        .load()
        .and_then(|()| Ok(uprobe.fd()?.as_fd().try_clone_to_owned()?))
        .map_err(|source| KernelError::Program { name, source })
}
