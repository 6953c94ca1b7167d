//! Tells the records of the ring apart. What a request says is read by its tier.

use tusktop_shared::{EVENT_EXEC, EVENT_EXIT, EVENT_FORK, EVENT_REQUEST, EVENT_STORM, RequestEvent};

use crate::collect::bpf::wire;

/// One record of the ring.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A request ended.
    Request(Box<RequestEvent>),
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
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let pid = word(4)?;
        match word(0)? {
            EVENT_REQUEST => Some(Self::Request(Box::new(wire::read(bytes)?))),
            EVENT_EXEC => Some(Self::Exec { pid }),
            EVENT_FORK => Some(Self::Fork { parent: word(8)?, child: pid }),
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
        assert!(Event::decode(&[1, 0, 0, 0, 1, 0, 0, 0]).is_none());
        assert!(Event::decode(&[]).is_none());
        assert!(matches!(Event::decode(&[2, 0, 0, 0, 7, 0, 0, 0]), Some(Event::Exec { pid: 7 })));
        assert!(Event::decode(&[99, 0, 0, 0, 7, 0, 0, 0]).is_none());
    }
}
