//! The ways to observe PHP, a folder each: where its probes are attached (`sites`), what its maps say (`reading`) and whether
//! it works for an image (`status`). [`ImageTiers`] attaches what [`sites`] lists and knows the state of every tier.

pub(crate) mod exact;
pub(crate) mod governor;
mod growth;
mod missing;
mod peaks;
pub(crate) mod pools;
pub(crate) mod problems;
pub(crate) mod requests;
pub(crate) mod sampling;
pub(crate) mod waiting;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::governor::Storms;
pub(crate) use missing::Missing;

use super::{
    PhpProcess,
    find::{discover::Found, masters},
    image::{Image, sites::ProbeSite},
    kernel::{
        Kernel, KernelError, Target as AttachTarget,
        attach::{self, Attachment},
    },
};
use crate::{
    model::{Master, SeenBy, Target, Tier, TierState, TierStatus, Tiers},
    system::blocked::Blocked,
};

/// Time for which the thread may be blocked while an image is attached, or attached again. What takes longer waits for the memory of some
/// process.
const BLOCKED: Duration = Duration::from_secs(2);
/// Names of probes that are listed; PHP has eleven, a hostile file as many as it likes.
const PROBES: usize = 32;

/// Where one tier is attached in an image, for as long as the collector runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TierSites {
    /// What they are.
    pub seen_by: SeenBy,
    /// Program to attach.
    pub program: &'static str,
    /// Sites, each with its kind (`tusktop_shared::SITE_*`), in the order in which they are attached.
    pub sites: Vec<(u32, ProbeSite)>,
    /// What these sites do not show; empty when they show all.
    pub limit: &'static str,
}

/// Where a tier is attached in an image; `None` for one that needs no probes, or only on demand.
fn sites(tier: Tier, image: &Image) -> Option<Result<TierSites, Missing>> {
    match tier {
        Tier::Requests => Some(requests::sites::of(image)),
        Tier::Exceptions => Some(problems::sites::exceptions(image)),
        Tier::Errors => Some(problems::sites::errors(image)),
        Tier::Compiles => Some(problems::sites::compiles(image)),
        Tier::Peaks => Some(peaks::sites::of(image)),
        Tier::Sampling | Tier::Waiting | Tier::Growth | Tier::Exact => None,
    }
}

/// State of the tiers of all images.
#[derive(Debug)]
pub(crate) struct ImageTiers {
    /// Of this machine, whatever the image.
    sampling: TierStatus,
    waiting: TierStatus,
    growth: TierStatus,
    /// By the number of the image; `None` for a number that is free.
    observed: Vec<Option<Observed>>,
    /// By image, what shows where exceptions are caught; `None` when that became too expensive.
    catches: Option<Vec<(u32, Attachment)>>,
}

/// An image that is observed.
#[derive(Debug)]
struct Observed {
    /// Which find it is, see [`Found::serial`].
    serial: u64,
    /// The status of the tiers that have sites.
    tiers: Tiers,
    /// What is attached for as long as the image is observed.
    attachments: Vec<(Tier, Attachment)>,
    /// Nothing is attached because a process holds it up: when it does not any more, all begins again.
    held_up: bool,
    /// How long the thread was blocked while it was attached.
    blocked: Duration,
    /// Tiers that had, or have, more to count than may be.
    storms: Storms,
}

impl Observed {
    fn status(&self, tier: Tier) -> TierStatus {
        let status = self.tiers[tier].clone();
        match self.storms.counted_percent(tier, Instant::now()) {
            Some(percent) if status.state == TierState::On => {
                let state = if self.storms.rests(tier) { TierState::Resting } else { status.state };
                TierStatus { state, ..status }.counted(percent)
            }
            _ => status,
        }
    }

    fn into_attachments(self) -> impl Iterator<Item = Attachment> {
        self.attachments.into_iter().map(|(_, attachment)| attachment)
    }
}

impl ImageTiers {
    /// Starts sampling, where the programs are loaded and `hz` is not 0.
    pub(crate) fn start(mut kernel: Option<&mut Kernel>, hz: u32) -> Self {
        Self {
            waiting: waiting::status::start(kernel.as_deref()),
            growth: growth::status::start(kernel.as_deref_mut(), hz),
            sampling: sampling::status::start(kernel, hz),
            observed: Vec::new(),
            catches: Some(Vec::new()),
        }
    }

    /// Detaches images that were released, also those whose number another one has now, and returns the numbers.
    pub(crate) fn leave(&mut self, images: &[Option<Found>]) -> Vec<u32> {
        let mut left = Vec::new();
        let mut detached = Vec::new();
        for (number, slot) in self.observed.iter_mut().enumerate() {
            let serial = images.get(number).and_then(Option::as_ref).map(|found| found.serial);
            if slot.as_ref().is_none_or(|observed| Some(observed.serial) == serial) {
                continue;
            }
            detached.extend(slot.take().into_iter().flat_map(Observed::into_attachments));
            let of_image = |(image, _): &mut (u32, Attachment)| *image as usize == number;
            let caught = self.catches.iter_mut().flat_map(|catches| catches.extract_if(.., of_image));
            detached.extend(caught.map(|(_, attachment)| attachment));
            left.push(number as u32);
        }
        attach::detach(detached);
        left
    }

    /// Attaches the images that were found since the last call, and leaves those of which it became known that they move their code.
    pub(crate) fn attach(&mut self, mut kernel: Option<&mut Kernel>, images: &[Option<Found>]) {
        self.leave_moving(images);
        self.observed.resize_with(images.len(), || None);
        for (observed, found) in self.observed.iter_mut().zip(images) {
            let free = found.as_ref().is_some_and(|found| found.held_up_by.is_empty());
            observed.take_if(|observed| observed.held_up && free);
        }
        for (number, found) in images.iter().enumerate() {
            let Some(found) = found.as_ref().filter(|_| self.observed[number].is_none()) else { continue };
            let id = number as u32;
            let mut observed = Observed {
                serial: found.serial,
                tiers: Tiers::default(),
                attachments: Vec::new(),
                held_up: !found.held_up_by.is_empty(),
                blocked: Duration::ZERO,
                storms: Storms::default(),
            };
            // Sampling needs the layout also where nothing can be attached; of the others, only requests cannot do without.
            let source = found.image.sapi.uri_source();
            let added = kernel.as_deref_mut().map(|kernel| kernel.add_image(id, &found.image, source));
            let mut unknown = added.and_then(Result::err);
            for tier in Tier::ALL {
                let Some(sites) = sites(tier, &found.image) else { continue };
                let attached = match unknown.take_if(|_| tier == Tier::Requests) {
                    Some(error) => Err(error.into()),
                    None => attach_sites(&mut observed, kernel.as_deref_mut(), id, found, tier, sites),
                };
                observed.tiers[tier] = attached.unwrap_or_else(|missing| missing.status());
            }
            let free = !found.moves && !observed.held_up && observed.blocked < BLOCKED;
            if let Some(kernel) = kernel.as_deref_mut().filter(|_| free) {
                self.attach_catches(kernel, id, found);
            }
            self.observed[number] = Some(observed);
        }
    }

    /// Attaches what shows where exceptions are caught. It only adds to them: without it all counts are what they are.
    fn attach_catches(&mut self, kernel: &mut Kernel, image: u32, found: &Found) {
        if let (Some(sites), Some(catches)) = (problems::sites::catches(&found.image), &mut self.catches)
            && let Ok(attached) = attach(kernel, image, found, &sites)
        {
            catches.extend(attached.into_iter().map(|attachment| (image, attachment)));
        }
    }

    /// Whether anything is attached to an image.
    pub(crate) fn has_traps(&self, image: usize) -> bool {
        let caught = self.catches.iter().flatten().any(|(of, _)| *of as usize == image);
        let observed = self.observed.get(image).and_then(Option::as_ref);
        caught || observed.is_some_and(|observed| !observed.attachments.is_empty())
    }

    /// Detaches images whose code moves. All at once: a process of theirs may have just been started.
    fn leave_moving(&mut self, images: &[Option<Found>]) {
        let mut left = Vec::new();
        let moves = |found: &Option<Found>| found.as_ref().is_some_and(|found| found.moves);
        for (id, observed) in self.observed.iter_mut().enumerate() {
            let Some(observed) = observed.as_mut().filter(|_| images.get(id).is_some_and(moves)) else { continue };
            let of_image = |(image, _): &mut (u32, Attachment)| *image as usize == id;
            let caught = self.catches.iter_mut().flat_map(|catches| catches.extract_if(.., of_image));
            let attached = observed.attachments.drain(..).map(|(_, attachment)| attachment);
            let detached: Vec<_> = attached.chain(caught.map(|(_, attachment)| attachment)).collect();
            if detached.is_empty() {
                continue;
            }
            left.extend(detached);
            let tiers = &mut observed.tiers;
            for tier in Tier::ALL {
                if tiers.is_on(tier) {
                    tiers[tier] = Missing::MovingCode.status();
                }
            }
        }
        attach::detach(left);
    }

    /// A storm goes through a program: its tier rests in that image. Says which it is, if it was attached.
    pub(crate) fn rest(&mut self, image: u32, program: &str) -> Option<Tier> {
        let Some(tier) = governor::tier_of(program) else {
            self.leave_catches();
            return None;
        };
        let observed = self.observed.get_mut(image as usize).and_then(Option::as_mut)?;
        // Without requests there is nothing that a peak belongs to.
        let also = (tier == Tier::Requests).then_some(Tier::Peaks);
        let left: Vec<_> = observed.attachments.extract_if(.., |(of, _)| *of == tier || Some(*of) == also).collect();
        if left.is_empty() {
            return None;
        }
        let rest: Vec<_> =
            [tier].into_iter().chain(also.filter(|also| left.iter().any(|(of, _)| of == also))).collect();
        attach::detach(left.into_iter().map(|(_, attachment)| attachment));
        for tier in rest {
            observed.storms.rest(tier, Instant::now());
        }
        Some(tier)
    }

    /// Whether the requests of an image are seen at the moment.
    pub(crate) fn observes_requests(&self, image: usize) -> bool {
        let observed = self.observed.get(image).and_then(Option::as_ref);
        observed.is_some_and(|observed| observed.tiers.is_on(Tier::Requests) && !observed.storms.rests(Tier::Requests))
    }

    /// Attaches again what has rested. Returns the images of which requests are seen again.
    pub(crate) fn wake(&mut self, kernel: &mut Kernel, images: &[Option<Found>]) -> Vec<usize> {
        let mut woken = Vec::new();
        for (number, observed) in self.observed.iter_mut().enumerate() {
            let Some(observed) = observed else { continue };
            let found = images.get(number).and_then(Option::as_ref);
            if found.is_some_and(|found| !found.held_up_by.is_empty()) {
                continue;
            }
            if observed.blocked < BLOCKED {
                observed.blocked = Duration::ZERO;
            }
            for tier in observed.storms.rested(Instant::now()) {
                let found = found.filter(|found| found.serial == observed.serial && observed.tiers.is_on(tier));
                let sites = found.and_then(|found| Some((found, sites(tier, &found.image)?)));
                if let Some((found, sites)) = sites {
                    let attached = attach_sites(observed, Some(&mut *kernel), number as u32, found, tier, sites);
                    observed.tiers[tier] = attached.unwrap_or_else(|missing| missing.status());
                    woken.extend((tier == Tier::Requests).then_some(number));
                }
            }
        }
        woken
    }

    /// Detaches what shows where exceptions are caught: a site that throws all the time shall not pay for that too.
    pub(crate) fn leave_catches(&mut self) {
        let left = self.catches.take().unwrap_or_default();
        let any = !left.is_empty();
        attach::detach(left.into_iter().map(|(_, attachment)| attachment));
        if any {
            for tiers in self.observed.iter_mut().flatten().map(|observed| &mut observed.tiers) {
                if tiers.is_on(Tier::Exceptions) && tiers[Tier::Exceptions].reason.is_empty() {
                    problems::LEFT.clone_into(&mut tiers[Tier::Exceptions].reason);
                }
            }
        }
    }

    /// All images with their tiers, the processes that run them and the masters among those, which are given by image.
    pub(crate) fn targets(
        &self,
        images: &[Option<Found>],
        processes: &[PhpProcess],
        masters: Vec<(usize, Master)>,
    ) -> Vec<Target> {
        let mut of_image: Vec<Vec<Master>> = images.iter().map(|_| Vec::new()).collect();
        for (image, master) in masters {
            of_image[image].push(master);
        }
        let observed = images.iter().zip(&self.observed).zip(of_image).enumerate();
        let observed = observed
            .filter_map(|(id, ((found, observed), masters))| Some((id, found.as_ref()?, observed.as_ref()?, masters)));
        observed
            .filter(|(_, found, ..)| !found.next)
            .map(|(id, found, observed, mut masters)| {
                let (probes, functions) = found.image.sites.names();
                Target {
                    image: Some(id),
                    not_observed: None,
                    exe: found.path.to_string_lossy().into(),
                    version: found.image.version.as_deref().map(Arc::from),
                    sapi: found.image.sapi.name().into(),
                    zts: found.image.zts,
                    probes: probes.into_iter().take(PROBES).map(Arc::from).collect(),
                    functions: functions.into_iter().map(Arc::from).collect(),
                    pids: processes.iter().filter(|p| p.alive && p.image == id).map(|p| p.pid).collect(),
                    tiers: self.tiers(observed, &found.image, &masters),
                    masters_left_out: masters::bound(&mut masters),
                    masters,
                }
            })
            .collect()
    }

    fn tiers(&self, observed: &Observed, image: &Image, masters: &[Master]) -> Tiers {
        Tiers::new(|tier| match tier {
            Tier::Requests | Tier::Exceptions | Tier::Errors | Tier::Compiles | Tier::Peaks => observed.status(tier),
            Tier::Sampling => sampling::status::of(&self.sampling, image),
            // A wait counts for the stack that it began in.
            Tier::Waiting => sampling::status::of(&self.waiting, image),
            Tier::Growth => sampling::status::of(&self.growth, image),
            Tier::Exact => exact::status::of(image, masters),
        })
    }
}

impl Drop for ImageTiers {
    fn drop(&mut self) {
        let caught = self.catches.take().into_iter().flatten().map(|(_, attachment)| attachment);
        let observed = self.observed.drain(..).flatten().flat_map(Observed::into_attachments);
        attach::detach(observed.chain(caught));
    }
}

fn attach_sites(
    observed: &mut Observed,
    kernel: Option<&mut Kernel>,
    image: u32,
    found: &Found,
    tier: Tier,
    sites: Result<TierSites, Missing>,
) -> Result<TierStatus, Missing> {
    let kernel = kernel.ok_or(Missing::Programs)?;
    let sites = sites?;
    if found.moves {
        return Err(Missing::MovingCode);
    }
    if let Some(&pid) = found.held_up_by.first() {
        return Err(Missing::HeldUp(pid));
    }
    if observed.blocked >= BLOCKED {
        return Err(Missing::Slow(observed.blocked.as_millis()));
    }
    let blocked = Blocked::begin();
    let attached = attach(kernel, image, found, &sites);
    observed.blocked += blocked.so_far();
    observed.attachments.extend(attached?.into_iter().map(|attachment| (tier, attachment)));
    Ok(TierStatus::on(sites.seen_by).limited(sites.limit))
}

fn attach(kernel: &mut Kernel, image: u32, found: &Found, sites: &TierSites) -> Result<Vec<Attachment>, KernelError> {
    let places: Vec<_> = sites.sites.iter().map(|(kind, site)| (*kind, site)).collect();
    kernel.attach(sites.program, AttachTarget { image, path: &found.handle(), pid: None }, &places)
}
