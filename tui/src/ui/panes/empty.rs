//! Why a pane has nothing to show, and what to press: the part that all PHP panes share.

use crate::{model::Tier, ui::frame::Screen, view::Pane};

/// What is said where the filter hides all.
pub(crate) const FILTERED: [&str; 2] = ["nothing matches the filter", "esc clears it"];

/// Why a pane of PHP that shows these tiers is empty. `waiting` is said before the first snapshot; `otherwise` is what it
/// means where every tier is seen.
pub(crate) fn why<'a>(
    screen: &'a Screen,
    pane: Pane,
    tiers: &[Tier],
    waiting: &'a str,
    otherwise: impl FnOnce() -> Vec<&'a str>,
) -> Vec<&'a str> {
    if screen.snapshot.is_some() && !screen.view.pane(pane).filter.is_empty() {
        return FILTERED.to_vec();
    }
    why_unfiltered(screen, tiers, waiting, otherwise)
}

/// As [`why`], where there is no filter.
pub(crate) fn why_unfiltered<'a>(
    screen: &'a Screen,
    tiers: &[Tier],
    waiting: &'a str,
    otherwise: impl FnOnce() -> Vec<&'a str>,
) -> Vec<&'a str> {
    let Some(snapshot) = screen.snapshot else { return vec![waiting] };
    if !screen.has_php() {
        return vec!["no PHP is running here", "it appears here when it starts"];
    }
    let targets = &snapshot.php.targets;
    // A worker of which the image is not known says nothing about tiers.
    let unseen = |tier: &Tier| !targets.is_empty() && targets.iter().all(|target| !target.tiers.is_on(*tier));
    if let Some(&tier) = tiers.iter().find(|tier| unseen(tier)) {
        let reason = targets.iter().map(|target| &*target.tiers[tier].reason).find(|reason| !reason.is_empty());
        return vec![tier.unseen(), reason.unwrap_or("press ! for the reasons")];
    }
    let mut lines = otherwise();
    if targets.iter().any(|target| tiers.iter().any(|&tier| !target.tiers.is_on(tier))) {
        lines.push("some PHP is not observed: press ! to see why");
    }
    lines
}
