//! Which tiers work for which image, and why the others do not.

pub(crate) mod exact;
pub(crate) mod pools;
pub(crate) mod problems;
pub(crate) mod sampling;
pub(crate) mod waiting;

use std::sync::Arc;

use tusktop_shared::{SITE_SHUTDOWN, SITE_STARTUP};

use self::problems::sites::{self, FailureSites};
use super::{
    PhpProcess,
    find::{discover::Found, masters},
    image::{Image, sites::RequestSites},
    kernel::{Kernel, KernelError, Target as AttachTarget, attach::Attachment},
};
use crate::model::{Master, ProbeTier, RequestsTier, SamplingTier, Target, TierState, Tiers};

const LEFT: &str = "there were so many that where they are caught is no longer followed";
/// Names of probes that are listed; PHP has eleven, a hostile file as many as it likes.
const PROBES: usize = 32;
const NOT_LOADED: &str = "the BPF programs are not loaded";
const NO_STATE: &str = "this kernel's type information does not say whether a thread waits";

/// State of the tiers of all images.
#[derive(Debug)]
pub struct ImageTiers {
    /// Why waits are not seen of any image.
    waiting: Result<(), &'static str>,
    sampling: SamplingTier,
    requests: Vec<RequestsTier>,
    failures: Vec<FailureTiers>,
    /// What is attached for as long as the collector runs.
    attachments: Vec<Attachment>,
    /// What shows where exceptions are caught; `None` when that became too dear.
    catches: Option<Vec<Attachment>>,
}

impl ImageTiers {
    /// Starts sampling, where the programs are loaded and `hz` is not 0.
    pub fn start(kernel: Option<&mut Kernel>, hz: u32) -> Self {
        let unavailable = |reason| SamplingTier { state: TierState::Unavailable, hz: None, reason };
        let waiting = match &kernel {
            None => Err(NOT_LOADED),
            Some(kernel) if kernel.knows_waits => Ok(()),
            Some(_) => Err(NO_STATE),
        };
        let sampling = match kernel {
            _ if hz == 0 => {
                SamplingTier { state: TierState::Off, hz: None, reason: "switched off by --hz 0".to_owned() }
            }
            None => unavailable(NOT_LOADED.to_owned()),
            Some(kernel) => match kernel.sample(hz) {
                Ok(()) => SamplingTier { state: TierState::On, hz: Some(hz), reason: String::new() },
                Err(error) => unavailable(error.to_string()),
            },
        };
        Self {
            waiting,
            sampling,
            requests: Vec::new(),
            failures: Vec::new(),
            attachments: Vec::new(),
            catches: Some(Vec::new()),
        }
    }

    /// Attaches the images that were found since the last call.
    pub fn attach(&mut self, mut kernel: Option<&mut Kernel>, images: &[Found]) {
        for (id, found) in images.iter().enumerate().skip(self.requests.len()) {
            let id = id as u32;
            let unavailable = |reason| RequestsTier { state: TierState::Unavailable, source: None, reason };
            let tier = match (kernel.as_deref_mut(), found.image.sites.requests()) {
                (None, _) => unavailable(NOT_LOADED.to_owned()),
                (Some(kernel), requests) => {
                    // Sampling needs the layout also where no request can be seen.
                    let added = kernel.add_image(id, &found.image, found.sapi.uri_source());
                    match (added, requests) {
                        (Err(error), _) => unavailable(error.to_string()),
                        (Ok(()), Err(reason)) => unavailable(reason),
                        (Ok(()), Ok(sites)) => match attach_requests(kernel, id, found, &sites) {
                            Ok(attached) => {
                                self.attachments.extend(attached);
                                RequestsTier {
                                    state: TierState::On,
                                    source: Some(sites.source.name().into()),
                                    reason: String::new(),
                                }
                            }
                            Err(error) => unavailable(error.to_string()),
                        },
                    }
                }
            };
            self.requests.push(tier);
            let failures = self.attach_failures(kernel.as_deref_mut(), id, found);
            self.failures.push(failures);
        }
    }

    /// All images with their tiers, the processes that run them and, by image, the masters among those.
    pub fn targets(&self, images: &[Found], processes: &[PhpProcess], masters: Vec<(usize, Master)>) -> Vec<Target> {
        let mut of_image: Vec<Vec<Master>> = images.iter().map(|_| Vec::new()).collect();
        for (image, master) in masters {
            of_image[image].push(master);
        }
        images
            .iter()
            .zip(self.requests.iter().zip(&self.failures))
            .zip(of_image)
            .enumerate()
            .map(|(id, ((found, (requests, failures)), mut masters))| {
                let (probes, functions) = found.image.sites.names();
                Target {
                    exe: found.path.to_string_lossy().into(),
                    version: found.image.version.as_deref().map(Arc::from),
                    sapi: found.sapi.name().into(),
                    zts: found.image.zts,
                    probes: probes.into_iter().take(PROBES).map(Arc::from).collect(),
                    functions: functions.into_iter().map(Arc::from).collect(),
                    pids: processes.iter().filter(|p| p.alive && p.target == id).map(|p| p.pid).collect(),
                    tiers: Tiers {
                        requests: requests.clone(),
                        sampling: self.sampling_of(&found.image),
                        waiting: self.waiting_of(&found.image),
                        exact: masters::exact(&found.image, &masters),
                        exceptions: failures.exceptions.clone(),
                        errors: failures.errors.clone(),
                        compiles: failures.compiles.clone(),
                    },
                    masters_left_out: masters::bound(&mut masters),
                    masters,
                }
            })
            .collect()
    }

    /// Detaches what shows where exceptions are caught: a site that throws all the time shall not pay for that too.
    pub fn leave_catches(&mut self) {
        if self.catches.take().is_some_and(|catches| !catches.is_empty()) {
            for tiers in &mut self.failures {
                if tiers.exceptions.state == TierState::On && tiers.exceptions.reason.is_empty() {
                    LEFT.clone_into(&mut tiers.exceptions.reason);
                }
            }
        }
    }

    /// Attaches what shows exceptions, errors and compiled files.
    fn attach_failures(&mut self, mut kernel: Option<&mut Kernel>, id: u32, found: &Found) -> FailureTiers {
        let image = &found.image;
        if let (Some(kernel), Some(sites), Some(catches)) =
            (kernel.as_deref_mut(), sites::catches(image), &mut self.catches)
        {
            // It only adds where an exception was caught; without it all counts are what they are.
            if let Ok(attached) = attach_sites(kernel, id, found, &sites) {
                catches.extend(attached);
            }
        }
        let mut tier = |sites: Result<FailureSites, String>| {
            let unavailable = |reason| ProbeTier { state: TierState::Unavailable, source: None, reason };
            match (kernel.as_deref_mut(), sites) {
                (None, _) => unavailable(NOT_LOADED.to_owned()),
                (_, Err(reason)) => unavailable(reason),
                (Some(kernel), Ok(sites)) => match attach_sites(kernel, id, found, &sites) {
                    Err(error) => unavailable(error.to_string()),
                    Ok(attached) => {
                        self.attachments.extend(attached);
                        let (source, reason) = (Some(sites.source.name().into()), sites.limit.to_owned());
                        ProbeTier { state: TierState::On, source, reason }
                    }
                },
            }
        };
        FailureTiers {
            exceptions: tier(sites::exceptions(image)),
            errors: tier(sites::errors(image)),
            compiles: tier(sites::compiles(image)),
        }
    }

    fn sampling_of(&self, image: &Image) -> SamplingTier {
        match unreadable(image) {
            Some(reason) if self.sampling.state == TierState::On => {
                SamplingTier { state: TierState::Unavailable, hz: None, reason }
            }
            _ => self.sampling.clone(),
        }
    }

    fn waiting_of(&self, image: &Image) -> ProbeTier {
        let unavailable = |reason| ProbeTier { state: TierState::Unavailable, source: None, reason };
        match (self.waiting, unreadable(image)) {
            (Err(reason), _) => unavailable(reason.to_owned()),
            (Ok(()), Some(reason)) => unavailable(reason),
            (Ok(()), None) => {
                ProbeTier { state: TierState::On, source: Some("sched_switch".into()), reason: String::new() }
            }
        }
    }
}

/// State of the tiers of one image that show what went wrong.
#[derive(Debug)]
struct FailureTiers {
    exceptions: ProbeTier,
    errors: ProbeTier,
    compiles: ProbeTier,
}

fn attach_sites(
    kernel: &mut Kernel,
    image: u32,
    found: &Found,
    sites: &FailureSites,
) -> Result<Vec<Attachment>, KernelError> {
    let places: Vec<_> = sites.sites.iter().map(|(kind, site)| (*kind, site)).collect();
    kernel.attach(sites.program, AttachTarget { image, path: &found.handle(), pid: None }, &places)
}

/// Why stacks of an image cannot be walked; `None` when they can.
fn unreadable(image: &Image) -> Option<String> {
    if image.zts {
        Some("it is built for threads (ZTS), whose stacks this version does not read".to_owned())
    } else if image.executor_globals.is_none() {
        Some("it does not export executor_globals".to_owned())
    } else if image.offsets.is_none() {
        Some(match &image.version {
            Some(version) => format!("the layout of PHP {version} is not known"),
            None => "its PHP version was not found in the file".to_owned(),
        })
    } else {
        None
    }
}

fn attach_requests(
    kernel: &mut Kernel,
    image: u32,
    found: &Found,
    sites: &RequestSites,
) -> Result<Vec<Attachment>, KernelError> {
    // The end first: a start that is seen always has its end seen.
    let ends = sites.shutdown.iter().map(|site| (SITE_SHUTDOWN, site));
    let sites: Vec<_> = ends.chain(sites.startup.iter().map(|site| (SITE_STARTUP, site))).collect();
    kernel.attach("request", AttachTarget { image, path: &found.handle(), pid: None }, &sites)
}
