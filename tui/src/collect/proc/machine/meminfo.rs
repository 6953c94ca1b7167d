//! The lines of /proc/meminfo (proc_meminfo(5)) that say where memory is.

use crate::collect::proc::kibibytes;

/// What /proc/meminfo says, in bytes. Each is `None` where its line is missing or makes no sense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// `MemTotal`.
    pub total: Option<u64>,
    /// `MemFree`.
    pub free: Option<u64>,
    /// `MemAvailable`, since Linux 3.14.
    pub available: Option<u64>,
    /// `Buffers`.
    pub buffers: Option<u64>,
    /// `Cached`: page cache and shared memory.
    pub cached: Option<u64>,
    /// `SwapCached`.
    pub swap_cached: Option<u64>,
    /// `Active(anon)`.
    pub active_anon: Option<u64>,
    /// `Inactive(anon)`.
    pub inactive_anon: Option<u64>,
    /// `Active(file)`.
    pub active_file: Option<u64>,
    /// `Inactive(file)`.
    pub inactive_file: Option<u64>,
    /// `SwapTotal`.
    pub swap_total: Option<u64>,
    /// `SwapFree`.
    pub swap_free: Option<u64>,
    /// `Zswap`: what zswap takes, since Linux 5.19.
    pub zswap: Option<u64>,
    /// `AnonPages`.
    pub anon: Option<u64>,
    /// `Shmem`: tmpfs, System V, and memory that is shared by inheritance or a descriptor.
    pub shmem: Option<u64>,
    /// `KReclaimable`, since Linux 4.20.
    pub reclaimable: Option<u64>,
    /// `SReclaimable`.
    pub slab_reclaimable: Option<u64>,
    /// `SUnreclaim`.
    pub slab_unreclaimable: Option<u64>,
    /// `KernelStack`.
    pub kernel_stacks: Option<u64>,
    /// `PageTables`.
    pub page_tables: Option<u64>,
    /// `SecPageTables`: those of virtual machines and of the IOMMU, since Linux 6.0.
    pub second_page_tables: Option<u64>,
    /// `VmallocUsed`, 0 between Linux 4.4 and 5.3. It contains the kernel's stacks.
    pub vmalloc: Option<u64>,
    /// `Percpu`, since Linux 5.0 (4.14 in some).
    pub per_cpu: Option<u64>,
    /// `HugePages_Total`, a number of pages of `Hugepagesize`.
    pub huge_pages: Option<u64>,
    /// `HugePages_Free`.
    pub huge_pages_free: Option<u64>,
    /// `Hugepagesize`.
    pub huge_page_size: Option<u64>,
    /// `Hugetlb`: huge pages of all sizes, since Linux 4.18.
    pub huge: Option<u64>,
}

impl MemoryInfo {
    /// Takes the lines that are there.
    pub(crate) fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let field = match name {
                "MemTotal" => &mut info.total,
                "MemFree" => &mut info.free,
                "MemAvailable" => &mut info.available,
                "Buffers" => &mut info.buffers,
                "Cached" => &mut info.cached,
                "SwapCached" => &mut info.swap_cached,
                "Active(anon)" => &mut info.active_anon,
                "Inactive(anon)" => &mut info.inactive_anon,
                "Active(file)" => &mut info.active_file,
                "Inactive(file)" => &mut info.inactive_file,
                "SwapTotal" => &mut info.swap_total,
                "SwapFree" => &mut info.swap_free,
                "Zswap" => &mut info.zswap,
                "AnonPages" => &mut info.anon,
                "Shmem" => &mut info.shmem,
                "KReclaimable" => &mut info.reclaimable,
                "SReclaimable" => &mut info.slab_reclaimable,
                "SUnreclaim" => &mut info.slab_unreclaimable,
                "KernelStack" => &mut info.kernel_stacks,
                "PageTables" => &mut info.page_tables,
                "SecPageTables" => &mut info.second_page_tables,
                "VmallocUsed" => &mut info.vmalloc,
                "Percpu" => &mut info.per_cpu,
                "Hugepagesize" => &mut info.huge_page_size,
                "Hugetlb" => &mut info.huge,
                "HugePages_Total" | "HugePages_Free" => {
                    let count = value.trim().parse().ok();
                    *(if name == "HugePages_Total" { &mut info.huge_pages } else { &mut info.huge_pages_free }) = count;
                    continue;
                }
                _ => continue,
            };
            *field = kibibytes(value.as_bytes());
        }
        info
    }

    /// What is in use: all that is not available.
    pub(crate) fn used(&self) -> Option<u64> {
        Some(self.total?.saturating_sub(self.available?))
    }

    /// Swap in use.
    pub(crate) fn swap_used(&self) -> Option<u64> {
        Some(self.swap_total?.saturating_sub(self.swap_free?))
    }

    /// All huge pages of hugetlbfs.
    pub(crate) fn huge_bytes(&self) -> Option<u64> {
        self.huge.or_else(|| self.huge_pages?.checked_mul(self.huge_page_size?))
    }

    /// Those of the usual size that nothing uses.
    pub(crate) fn huge_free_bytes(&self) -> Option<u64> {
        self.huge_pages_free?.checked_mul(self.huge_page_size?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_missing_leave_the_others() {
        let text = "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\nSwapTotal: 30 kB\nSwapFree: 10 kB\n\
                    HugePages_Total: 3\nHugePages_Free: 1\nHugepagesize: 2048 kB\nActive(file): 7 kB\n";
        let info = MemoryInfo::parse(text);
        assert_eq!((info.total, info.used(), info.swap_used()), (Some(2 << 20), Some(1 << 20), Some(20 << 10)));
        assert_eq!(
            (info.huge_bytes(), info.huge_free_bytes(), info.active_file),
            (Some(6 << 20), Some(2 << 20), Some(7 << 10))
        );
        for missing in text.lines() {
            let without = text.replace(&format!("{missing}\n"), "");
            let known = MemoryInfo::parse(&without);
            let same = [known.total == info.total, known.free == info.free, known.swap_total == info.swap_total];
            assert!(same.iter().filter(|same| !**same).count() <= 1, "{missing}");
        }
        assert_eq!(MemoryInfo::parse(&text.replace("MemAvailable", "Else")).used(), None);
    }

    #[test]
    fn odd_lines_are_unknown_and_not_zero() {
        for odd in ["MemTotal: 5", "MemTotal: -5 kB", "MemTotal:  kB", "MemTotal: 99999999999999999999 kB", "MemTotal"]
        {
            assert_eq!(MemoryInfo::parse(odd), MemoryInfo::default(), "{odd}");
        }
        assert_eq!(MemoryInfo::parse("HugePages_Total: 18446744073709551615\nHugepagesize: 9 kB\n").huge_bytes(), None);
    }
}
