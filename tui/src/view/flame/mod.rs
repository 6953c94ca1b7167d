//! The flame view: what is zoomed into, selected and searched, and where frames are on the screen. Everything is named by the
//! frames that lead to it, so it keeps its place while data change.

pub mod layout;

use ratatui::layout::{Position, Rect};

pub use crate::analysis::{flame::Frame, profile::Scope};

/// What is shown of the flame, from the outermost step to the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlameView {
    /// It is about one request or worker; `None` where it is about what PHP's lists are about.
    pub of: Option<Scope>,
    /// What was entered, one in the other; empty shows all.
    pub steps: Vec<Step>,
    /// The selected frame.
    pub selected: Option<Spot>,
    /// What is searched for; empty for nothing.
    pub search: String,
}

/// One step into the flame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The frame at the end of this path from the outermost one has all the width.
    Zoom(Vec<Frame>),
    /// The callers and callees of a frame.
    Around(Frame),
}

/// In which direction frames are piled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// Downwards, to what is called.
    Callees,
    /// Upwards, to the callers.
    Callers,
}

/// A frame by its place in the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Which half of the view it is in.
    pub half: Half,
    /// The frames from the root of that half to it.
    pub path: Vec<Frame>,
}

/// A frame on the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Which.
    pub frame: Frame,
    /// Its node in the tree of its half.
    pub node: usize,
    /// The one that it is part of, by its index in the list; `None` for the outermost of the half.
    pub parent: Option<usize>,
    /// Which half it is in.
    pub half: Half,
    /// Its line, counted from the root of its half.
    pub level: usize,
    /// Where it begins and how wide it is, in eighths of a column.
    pub span: (u32, u32),
    /// How much of that is CPU time.
    pub cpu: u32,
    /// Its line on the screen; `None` where that is beyond the edge.
    pub y: Option<u16>,
    /// It is what is searched for.
    pub found: bool,
}

/// Where the frames are on the screen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlameScene {
    /// Where the frames are.
    pub area: Rect,
    /// The line with the way that was entered, if it was.
    pub way: Option<Rect>,
    /// All frames that are wide enough to be drawn; each comes behind the one that it is part of.
    pub frames: Vec<Placed>,
    /// The frames on the way to the one that is zoomed into, itself not included: paths go on from there.
    pub base: Vec<Frame>,
}

impl FlameScene {
    /// The frame with this index as a place that can be kept.
    pub fn spot(&self, index: usize) -> Option<Spot> {
        let half = self.frames.get(index)?.half;
        let mut path = Vec::new();
        let mut at = Some(index);
        while let Some(placed) = at.and_then(|at| self.frames.get(at)) {
            path.push(placed.frame.clone());
            at = placed.parent;
        }
        if half == Half::Callees {
            path.extend(self.base.iter().rev().cloned());
        }
        path.reverse();
        Some(Spot { half, path })
    }

    /// The index of a place, or of the nearest one on the way to it that there is.
    pub fn find(&self, spot: &Spot) -> Option<usize> {
        let path = match spot.half {
            Half::Callees => spot.path.strip_prefix(&*self.base)?,
            Half::Callers => &spot.path,
        };
        let mut at = None;
        for frame in path {
            let next = self
                .frames
                .iter()
                .position(|placed| placed.parent == at && placed.half == spot.half && placed.frame == *frame);
            match next {
                Some(next) => at = Some(next),
                None => break,
            }
        }
        at
    }

    /// The frame that is drawn at a place of the screen.
    pub fn at(&self, position: Position) -> Option<usize> {
        if !self.area.contains(position) {
            return None;
        }
        let (from, to) = (u32::from(position.x - self.area.x) * 8, u32::from(position.x - self.area.x) * 8 + 8);
        // Of several in one column, the widest part of it.
        let covered = |placed: &Placed| {
            let (start, width) = placed.span;
            (start + width).min(to).saturating_sub(start.max(from))
        };
        let row = self.frames.iter().enumerate().filter(|(_, placed)| placed.y == Some(position.y));
        row.map(|(index, placed)| (covered(placed), index)).filter(|(covered, _)| *covered > 0).max().map(|(_, i)| i)
    }

    /// The frame that one moves to from another.
    pub(crate) fn neighbour(&self, from: usize, direction: super::treemap::Direction) -> Option<usize> {
        use super::treemap::Direction::{Down, Left, Right, Up};
        let placed = self.frames.get(from)?;
        let inwards = |half| if half == Half::Callees { Down } else { Up };
        match direction {
            Left | Right => {
                let row =
                    self.frames.iter().enumerate().filter(|(_, p)| p.half == placed.half && p.level == placed.level);
                match direction {
                    Left => row.filter(|(_, p)| p.span.0 < placed.span.0).max_by_key(|(_, p)| p.span.0),
                    _ => row.filter(|(_, p)| p.span.0 > placed.span.0).min_by_key(|(_, p)| p.span.0),
                }
                .map(|(index, _)| index)
            }
            direction if direction == inwards(placed.half) => {
                let children = self.frames.iter().enumerate().filter(|(_, p)| p.parent == Some(from));
                children.max_by_key(|(index, p)| (p.span.1, std::cmp::Reverse(*index))).map(|(index, _)| index)
            }
            _ => match placed.parent {
                Some(parent) => Some(parent),
                // To the frame in the middle, and from it to the other half.
                None => {
                    let level = usize::from(placed.half == Half::Callees);
                    let other =
                        self.frames.iter().enumerate().filter(|(_, p)| p.half != placed.half && p.level == level);
                    other.max_by_key(|(index, p)| (p.span.1, std::cmp::Reverse(*index))).map(|(index, _)| index)
                }
            },
        }
    }
}
