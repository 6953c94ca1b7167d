//! Tells the records of the ring of processes apart.

use tusktop_shared::{EVENT_EXEC, EVENT_EXIT, EVENT_FORK, EVENT_STORM, ProcessEvent};

use crate::collect::bpf::wire;

/// One record of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process replaced its image.
    Exec { pid: u32 },
    /// A PHP process forked.
    Fork { parent: u32, child: u32 },
    /// A PHP process ended.
    Exit { pid: u32 },
    /// A CPU pays too much for hits of probes.
    Storm,
}

impl Event {
    /// Decodes a record; `None` for one that is cut or of an unknown kind.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let ProcessEvent { kind, pid, other, .. } = wire::read(bytes)?;
        match kind {
            EVENT_EXEC => Some(Self::Exec { pid }),
            EVENT_FORK => Some(Self::Fork { parent: other, child: pid }),
            EVENT_EXIT => Some(Self::Exit { pid }),
            EVENT_STORM => Some(Self::Storm),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_record_is_refused() {
        let record = |kind| [kind, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Event::decode(&record(2)[..8]), None);
        assert_eq!(Event::decode(&[]), None);
        assert_eq!(Event::decode(&record(2)), Some(Event::Exec { pid: 7 }));
        assert_eq!(Event::decode(&record(3)), Some(Event::Fork { parent: 6, child: 7 }));
        assert_eq!(Event::decode(&record(99)), None);
    }
}
