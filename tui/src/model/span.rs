//! What is asked about: the span of a profile, and what of it counts.

/// The span of time that the PHP lists are about; it ends with the snapshot that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// The last interval.
    Last,
    /// Ten seconds.
    #[default]
    TenSeconds,
    /// One minute.
    Minute,
    /// Everything since the start.
    All,
}

impl Window {
    /// All, the shortest first.
    pub const ALL: [Self; 4] = [Self::Last, Self::TenSeconds, Self::Minute, Self::All];
}

/// What of functions and files counts: which time, or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HotTime {
    /// On the CPU and waiting.
    #[default]
    Both,
    /// On the CPU.
    Cpu,
    /// Waiting.
    Wait,
    /// By how much processes grew.
    Memory,
}
