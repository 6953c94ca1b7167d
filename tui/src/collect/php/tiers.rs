//! Which tiers work for which image, and why the others do not.

use std::sync::Arc;

use tusktop_shared::{SITE_SHUTDOWN, SITE_STARTUP};

use super::{
    PhpProcess,
    attach::Attachment,
    discover::Found,
    image::Image,
    kernel::{Kernel, KernelError, Target as AttachTarget},
    masters,
    sites::RequestSites,
};
use crate::model::{Master, RequestsTier, SamplingTier, Target, TierState, Tiers};

/// Names of probes that are listed; PHP has eleven, a hostile file as many as it likes.
const PROBES: usize = 32;
const NOT_LOADED: &str = "the BPF programs are not loaded";

/// State of the tiers of all images.
#[derive(Debug)]
pub struct ImageTiers {
    sampling: SamplingTier,
    requests: Vec<RequestsTier>,
    /// What is attached for as long as the collector runs.
    attachments: Vec<Attachment>,
}

impl ImageTiers {
    /// Starts sampling, where the programs are loaded and `hz` is not 0.
    pub fn start(kernel: Option<&mut Kernel>, hz: u32) -> Self {
        let unavailable = |reason| SamplingTier { state: TierState::Unavailable, hz: None, reason };
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
        Self { sampling, requests: Vec::new(), attachments: Vec::new() }
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
            .zip(&self.requests)
            .zip(of_image)
            .enumerate()
            .map(|(id, ((found, requests), mut masters))| {
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
                        exact: masters::exact(&found.image, &masters),
                    },
                    masters_left_out: masters::bound(&mut masters),
                    masters,
                }
            })
            .collect()
    }

    fn sampling_of(&self, image: &Image) -> SamplingTier {
        let reason = if self.sampling.state != TierState::On {
            return self.sampling.clone();
        } else if image.zts {
            "it is built for threads (ZTS), whose stacks this version does not read".to_owned()
        } else if image.executor_globals.is_none() {
            "it does not export executor_globals".to_owned()
        } else if image.offsets.is_none() {
            match &image.version {
                Some(version) => format!("the layout of PHP {version} is not known"),
                None => "its PHP version was not found in the file".to_owned(),
            }
        } else {
            return self.sampling.clone();
        };
        SamplingTier { state: TierState::Unavailable, hz: None, reason }
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
