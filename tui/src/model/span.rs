//! Which time is asked about: the span of a profile, and which of its times count.

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

/// Which time of functions and files counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HotTime {
    /// On the CPU and waiting.
    #[default]
    Both,
    /// On the CPU.
    Cpu,
    /// Waiting.
    Wait,
}
