//! How many connections wait for a pool, from the kernel: php-fpm itself sees none that wait at a unix socket. The kernel tells it
//! of all listening sockets of this network namespace (sock_diag(7)), and a worker has open only that of its pool: it closes
//! those of others when it starts.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{self, InetRequest, SocketId},
    unix::{self, UnixRequest, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use crate::{collect::reads::Reads, model::Scoreboard};

/// Bytes of an answer that are taken at once; the kernel fills 32 KiB at most (net/netlink/af_netlink.c).
const ANSWER: usize = 32 << 10;
/// Answers to one question: more sockets than any machine listens at.
const ANSWERS: usize = 4_096;
/// Readings after which it is looked again which socket a pool has.
const READINGS: u32 = 30;

/// Descriptors of a worker that are looked at.
const DESCRIPTORS: usize = 512;

/// A pool: its master and its name.
type Key = (u32, Arc<str>);

/// The queues of pools.
#[derive(Debug, Default)]
pub(super) struct Queues {
    sockets: HashMap<Key, Listens>,
    /// Since when something waits, on the monotonic clock.
    since: HashMap<Key, u64>,
}

/// Where a pool listens.
#[derive(Debug, Clone, Copy)]
struct Listens {
    worker: u32,
    inode: u32,
    readings: u32,
}

impl Queues {
    /// Puts into each pool how many connections wait; `worker` says who is a worker of it. Returns for each since when some do.
    pub(super) fn read(
        &mut self,
        pools: &mut [Scoreboard],
        worker: impl Fn(&Scoreboard) -> Option<u32>,
        reads: &mut Reads,
        now_ns: u64,
    ) -> Vec<Option<u64>> {
        let (mut sockets, mut since) = (HashMap::new(), HashMap::new());
        let waiting = if pools.is_empty() { Ok(HashMap::new()) } else { waiting() };
        let listens: Vec<Option<u32>> = pools
            .iter()
            .map(|pool| {
                let key = (pool.master, Arc::clone(&pool.name));
                let listens = self.listens(&key, worker(pool), waiting.as_ref().ok()?, reads)?;
                sockets.insert(key, listens);
                Some(listens.inode)
            })
            .collect();
        self.sockets = sockets;
        let mut all = Vec::with_capacity(pools.len());
        for (pool, inode) in pools.iter_mut().zip(listens) {
            // What php-fpm says is right for TCP; 0 is what it says where it does not know.
            let told = pool.listen_queue.filter(|&queue| queue > 0);
            let known = waiting.as_ref().ok().zip(inode).and_then(|(waiting, inode)| waiting.get(&inode).copied());
            pool.listen_queue = known.or(told);
            let key = (pool.master, Arc::clone(&pool.name));
            let began = pool.listen_queue.filter(|&queue| queue > 0);
            let began = began.map(|_| self.since.get(&key).copied().unwrap_or(now_ns));
            since.extend(began.map(|began| (key, began)));
            all.push(began);
        }
        self.since = since;
        all
    }

    fn listens(
        &self,
        key: &Key,
        worker: Option<u32>,
        waiting: &HashMap<u32, u32>,
        reads: &mut Reads,
    ) -> Option<Listens> {
        let known = self.sockets.get(key).filter(|known| known.readings < READINGS);
        if let Some(known) = known.filter(|known| reads.procfs.is_there(known.worker)) {
            return Some(Listens { readings: known.readings + 1, ..*known });
        }
        let worker = worker?;
        let open = reads.of(worker, move |procfs| Ok(sockets(&procfs.path(worker, "fd")))).ok()?;
        let mut listening = open.into_iter().filter(|inode| waiting.contains_key(inode));
        // Were there two, it would not be known which one is meant.
        let inode = listening.next().filter(|&first| listening.all(|other| other == first))?;
        Some(Listens { worker, inode, readings: 0 })
    }
}

/// The sockets among the descriptors in a folder, by their inodes.
fn sockets(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let links = entries.flatten().take(DESCRIPTORS).filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| inode(link.to_str()?)).collect()
}

/// The number in `socket:[4711]`.
fn inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// How many connections wait at each listening socket, by its inode.
fn waiting() -> io::Result<HashMap<u32, u32>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut waiting = HashMap::new();
    ask(&socket, unix_sockets(), &mut waiting)?;
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let question = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: inet::ExtensionFlags::empty(),
            states: inet::StateFlags::LISTEN,
            socket_id,
        };
        // A kernel without TCP or IPv6 diagnostics has those of unix sockets all the same.
        let _ = ask(&socket, SockDiagMessage::InetRequest(question), &mut waiting);
    }
    Ok(waiting)
}

fn unix_sockets() -> SockDiagMessage {
    SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: unix::StateFlags::LISTEN,
        inode: 0,
        show_flags: unix::ShowFlags::RQLEN,
        cookie: [0xff; 8],
    })
}

fn ask(socket: &Socket, question: SockDiagMessage, waiting: &mut HashMap<u32, u32>) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, question.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = vec![0; ANSWER];
    for _ in 0..ANSWERS {
        let mut room = &mut answer[..];
        let size = socket.recv(&mut room, 0)?;
        if read(&answer[..size.min(ANSWER)], waiting)? {
            return Ok(());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Takes in an answer; true where it was the last one.
fn read(mut answer: &[u8], waiting: &mut HashMap<u32, u32>) -> io::Result<bool> {
    while !answer.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(answer).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::UnixResponse(unix)) => {
                let length = unix.nlas.iter().find_map(|nla| match nla {
                    Nla::ReceiveQueueLength(length, _) => Some(*length),
                    _ => None,
                });
                waiting.extend(length.map(|length| (unix.header.inode, length)));
            }
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(inet)) => {
                waiting.insert(inet.header.inode, inet.header.recv_queue);
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        // Messages begin at multiples of 4 (NLMSG_ALIGN).
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        answer = answer.get(length..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::{
            fd::AsRawFd as _,
            unix::net::{UnixListener, UnixStream},
        },
    };

    use super::*;

    fn inode_of(socket: &impl std::os::fd::AsRawFd) -> u32 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        inode(link.to_str().unwrap()).unwrap()
    }

    #[test]
    fn connections_that_wait_at_unix_and_tcp_sockets_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("s")).unwrap();
        let (four, six) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0"));
        let clients: Vec<_> = (0..3).map(|_| UnixStream::connect(folder.path().join("s")).unwrap()).collect();
        let tcp: Vec<_> = (0..2).map(|_| TcpStream::connect(four.local_addr().unwrap()).unwrap()).collect();
        let now = waiting().unwrap();
        assert_eq!((now[&inode_of(&unix)], now[&inode_of(&four)]), (3, 2));
        if let Ok(six) = six {
            assert_eq!(now[&inode_of(&six)], 0);
        }
        drop(unix.accept().unwrap());
        assert_eq!(waiting().unwrap()[&inode_of(&unix)], 2);
        assert!(clients.len() + tcp.len() == 5 && unix.as_raw_fd() > 0);
    }

    #[test]
    fn only_a_socket_has_an_inode_and_a_torn_answer_is_an_error() {
        assert_eq!(
            (inode("socket:[4711]"), inode("/dev/null"), inode("pipe:[1]"), inode("socket:[x]")),
            (Some(4711), None, None, None)
        );
        assert!(read(&[1, 2, 3], &mut HashMap::new()).is_err());
        assert!(!read(&[], &mut HashMap::new()).unwrap());
    }
}
