//! PSS of real processes that share memory: the sum over a fork tree holds it once. It needs perl, and no rights: the
//! processes are children of the test.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tusktop::collect::{
    Tick,
    proc::{Options, ProcessSample, Pss, PssOptions, Rollup, Sampler},
};

const MIB: u64 = 1 << 20;
const CHILDREN: u64 = 4;

/// A process with some MiB, and children that inherit them; the first child writes to a quarter. All end when standard
/// input does.
const TREE: &str = r#"
    my ($size, $children) = ($ARGV[0] << 20, $ARGV[1]);
    my $memory = "x";
    $memory x= $size;
    my @pids;
    pipe(my $ready, my $done);
    for my $child (1 .. $children) {
        my $pid = fork();
        if (!$pid) {
            if ($child == 1) {
                for (my $at = 0; $at < $size / 4; $at += 4096) { substr($memory, $at, 1) = "y"; }
            }
            syswrite($done, "x");
            sysread(STDIN, my $end, 1);
            exit;
        }
        push @pids, $pid;
    }
    for (@pids) { sysread($ready, my $one, 1); }
    $| = 1;
    print join(" ", $$, @pids), "\n";
    sysread(STDIN, my $end, 1);
"#;

/// The processes of a tree, the parent first.
struct Tree {
    parent: Child,
    pids: Vec<u32>,
}

impl Tree {
    fn start(mib: u64) -> Self {
        let mut parent = Command::new("perl")
            .args(["-e", TREE, &mib.to_string(), &CHILDREN.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let pids: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(pids.len() as u64, 1 + CHILDREN, "{line:?}");
        Self { parent, pids }
    }

    fn read(&self, sample: &ProcessSample) -> Vec<(u64, Rollup)> {
        let of = |pid: &u32| {
            let reading = sample.processes.iter().find(|reading| reading.pid == *pid).unwrap();
            let Pss::Known(rollup, Some(_)) = reading.pss else { panic!("{reading:?}") };
            (reading.rss_bytes, rollup)
        };
        self.pids.iter().map(of).collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // The end of their standard input ends all of them.
        drop(self.parent.stdin.take());
        let _ = self.parent.wait();
    }
}

fn within(value: u64, expected: u64) -> bool {
    value.abs_diff(expected) <= expected / 50
}

#[test]
fn memory_that_a_fork_tree_shares_counts_once_by_pss_and_in_each_process_by_rss() {
    let (small, big) = (Tree::start(0), Tree::start(64));
    // Enough for all processes of the machine at once.
    let pss = PssOptions { allowance: Duration::from_secs(10), budget: 1.0, read_limit: Duration::from_secs(10) };
    let mut sampler = Sampler::with(&Options { pss, ..Options::default() }, Timestamp::now()).unwrap();
    let wanted: Vec<u32> = small.pids.iter().chain(&big.pids).copied().collect();
    let known = |sample: &ProcessSample| {
        let read = |pid| sample.processes.iter().any(|p| p.pid == pid && matches!(p.pss, Pss::Known(_, Some(_))));
        wanted.iter().all(|&pid| read(pid))
    };
    let sample = std::iter::repeat_with(|| sampler.pass(Tick { at: Instant::now() })).take(1000).find(known).unwrap();
    let (small, big) = (small.read(&sample), big.read(&sample));
    let grown = |of: fn(&(u64, Rollup)) -> u64| {
        let sum = |tree: &[(u64, Rollup)]| tree.iter().map(of).sum::<u64>();
        sum(&big) - sum(&small)
    };
    // What all share, and the quarter that one has for itself.
    let (pss, rss) = (grown(|(_, rollup)| rollup.pss_bytes), grown(|(rss, _)| *rss));
    assert!(within(pss, 80 * MIB), "PSS {pss}");
    assert!(within(rss, (1 + CHILDREN) * 64 * MIB), "RSS {rss}");
    for (at, (big, small)) in big.iter().zip(&small).enumerate() {
        let (uss, shared) =
            (big.1.uss_bytes - small.1.uss_bytes.min(big.1.uss_bytes), big.1.shared_bytes - small.1.shared_bytes);
        let expected = if at == 1 { (16, 48) } else { (0, 64) };
        assert!(uss.abs_diff(expected.0 * MIB) <= MIB, "USS of {at}: {uss}");
        assert!(shared.abs_diff(expected.1 * MIB) <= MIB, "shared of {at}: {shared}");
    }
}
