//! What makes processes a group on the screen.

/// What makes processes a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    /// The rules.
    #[default]
    Rules,
    /// php-fpm pool.
    Pool,
    /// systemd unit.
    Unit,
    /// Container.
    Container,
    /// User.
    User,
}

impl Grouping {
    /// All, in the order of the key that changes it.
    pub const ALL: [Self; 5] = [Self::Rules, Self::Pool, Self::Unit, Self::Container, Self::User];

    /// Its name, for titles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "group",
            Self::Pool => "pool",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::User => "user",
        }
    }

    /// The one after it; the first after the last.
    #[must_use]
    pub fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}
