//! Drawing: `draw` turns an `Input` into cells and says in a [`Scene`] where everything is. It is pure: the same input gives
//! the same cells. It knows no collector, no channel and no clock.
//!
//! ```text
//!  150 columns and more                          80 to 119                below 80x24, 40x10
//! ┌ header, 1 or 2 lines ────────────────────┐  ┌ header ───────────┐   ┌ header ──┐  ┌────────┐
//! │ ╭ map ────────────╮╭ hot ───────────────╮│  │╭ map ────────────╮│   │ the pane │  │ table  │
//! │ │                 │├ routes ────────────┤│  │╰─────────────────╯│   │ with the │  │ of the │
//! │ │                 │├ requests, if high ─┤│  │╭ hot or other ───╮│   │ focus    │  │ biggest│
//! │ ╰─────────────────╯├ problems, if higher┤│  │╰─────────────────╯│   │          │  │ groups │
//! │                    ╰────────────────────╯│  │                   │   │          │  │        │
//! └ notice, hints ───────────────────────────┘  └ hints ────────────┘   └ hints ───┘  └────────┘
//! ```

mod chrome;
mod filter;
mod flame;
mod frame;
#[cfg(test)]
mod fuzz;
mod list;
mod pages;
mod paint;
mod panes;
pub mod theme;
mod windows;

pub use self::frame::is_tracing;

use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    chrome::{footer, header, scrub},
    frame::Screen,
    panes::{
        difference, hot,
        memory::{chart, table, tiles},
        problems, requests, workers,
    },
    theme::Palette,
};
use crate::{
    analysis::{
        difference::Difference,
        flame::Fold,
        lanes::Lanes,
        timeline::{Between, Histories, Reference},
    },
    model::{Contents, Exact, Inspection, Php, Snapshot},
    view::{KeyHint, Pane, RecordingInProgress, Scene, Scrub, Shown, View},
};

/// Everything that a drawing depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// What is shown and how.
    pub view: &'a View,
    /// The snapshot; `None` until the first came.
    pub snapshot: Option<&'a Snapshot>,
    /// The PHP part over the chosen window.
    pub php: &'a Php,
    /// How much time the window covers.
    pub covered: Duration,
    /// How groups grew.
    pub histories: &'a Histories,
    /// Exact tracing as it is now, whatever moment is shown.
    pub exact: Option<&'a Exact>,
    /// The last close look at the process whose detail is open.
    pub inspection: Option<&'a Inspection>,
    /// What is in the part of the machine's memory whose page is open.
    pub contents: Option<&'a Contents>,
    pub palette: &'a Palette,
    /// Keys for the footer and the help.
    pub hints: &'a [KeyHint],
    /// For the clock.
    pub time_zone: &'a TimeZone,
    /// Only ASCII can be shown.
    pub ascii: bool,
    /// Snapshots that came too fast to be taken just before this one.
    pub lagged: u64,
    /// The recording that is made beside the screen.
    pub recording: Option<&'a RecordingInProgress>,
    /// The line of a recording or of the past.
    pub scrub: Option<&'a Scrub>,
    /// The share of the sum since the start that is added up; `None` when it is whole.
    pub adding: Option<f64>,
    /// What lies between two marks, if PHP's lists are about that.
    pub between: Option<&'a Between>,
    /// How it differs from another span, if they are compared.
    pub difference: Option<&'a Difference>,
    /// The other recording that is compared with.
    pub reference: Option<&'a Reference>,
    /// PHP over the other span, and how much time that covers, if two are compared and the flame is shown.
    pub before: Option<(&'a Php, Duration)>,
    /// What each worker did in the last minute, where workers are shown.
    pub lanes: Option<&'a Lanes>,
    /// What becomes one frame of the flame.
    pub fold: &'a Fold,
    /// The drawing before, so that tiles keep their places.
    pub previous: Option<&'a Scene>,
}

/// Draws a screen into all of `buffer` and says where everything is.
pub(crate) fn draw(buffer: &mut Buffer, input: &Input) -> Shown {
    let area = buffer.area;
    let screen = &Screen::of(input);
    let mut scene = Scene { area, ..Scene::default() };
    if area.is_empty() {
        return Shown { facts: screen.facts(&scene), scene };
    }
    buffer.set_style(area, screen.palette.text);
    let (width, height) = (area.width, area.height);
    if width < 40 || height < 10 {
        let rows = table::draw(buffer, area, screen, &mut scene);
        scene.panes.push((Pane::Map, rows));
    } else {
        let wide = width >= 120 && height >= 24;
        let head = header::draw(buffer, area, screen, wide);
        // The last line, so that it stays where it is when a notice comes.
        let line = scrub::height(screen, area);
        scrub::draw(buffer, Rect { y: area.bottom() - line, height: line, ..area }, screen, &mut scene);
        let foot = line + footer::draw(buffer, Rect { height: height - line, ..area }, screen, &mut scene);
        let body = Rect { y: area.y + head, height: height.saturating_sub(head + foot), ..area };
        if let Some(view) = &screen.view.flame {
            flame::draw(buffer, body, view, screen, &mut scene);
        } else {
            draw_panes(buffer, body, screen, &mut scene);
        }
    }
    let facts = screen.facts(&scene);
    windows::draw(buffer, area, screen, &mut scene);
    if screen.ascii {
        paint::to_ascii(buffer);
    }
    Shown { scene, facts }
}

fn draw_panes(buffer: &mut Buffer, body: Rect, screen: &Screen, scene: &mut Scene) {
    let Rect { width, height, .. } = buffer.area;
    let wide = width >= 120 && height >= 24;
    for (pane, rect) in places(screen, body, wide, width >= 80 && height >= 24) {
        scene.panes.push((pane, rect));
        draw_pane(buffer, rect, pane, screen, scene);
    }
}

fn draw_pane(buffer: &mut Buffer, rect: Rect, pane: Pane, screen: &Screen, scene: &mut Scene) {
    if screen.view.pane(pane).detail.is_some() {
        pages::draw(buffer, rect, pane, screen, scene);
        return;
    }
    let compared = matches!(pane, Pane::Hot | Pane::Routes | Pane::Problems);
    if let Some(compared) = screen.difference.filter(|_| compared) {
        difference::draw(buffer, rect, pane, screen, compared, scene);
        return;
    }
    match pane {
        Pane::Map => draw_memory(buffer, rect, screen, scene),
        Pane::Hot => hot::draw(buffer, rect, screen, scene),
        Pane::Routes => requests::draw_routes(buffer, rect, screen, scene),
        Pane::Requests => requests::draw_requests(buffer, rect, screen, scene),
        Pane::Problems => problems::draw(buffer, rect, screen, scene),
        Pane::Workers => workers::draw(buffer, rect, screen, scene),
    }
}

fn draw_memory(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let (rect, charts) = chart::split(rect, screen);
    match screen.view.table {
        true => table::draw_pane(buffer, rect, screen, scene),
        false => tiles::draw(buffer, rect, screen, scene),
    }
    if let Some(charts) = charts {
        chart::draw(buffer, charts, screen);
    }
}

/// Which panes are visible and where.
fn places(screen: &Screen, body: Rect, wide: bool, stacked: bool) -> Vec<(Pane, Rect)> {
    let focus = screen.view.focus.0;
    if body.is_empty() {
        return Vec::new();
    }
    if focus == Pane::Workers {
        return vec![(focus, body)];
    }
    // The page of a process is long: where panes are low, it has all the height.
    let low = !wide && screen.view.inspected().is_some();
    if !(wide || stacked) || (focus == Pane::Map && (low || (screen.snapshot.is_some() && !screen.has_php()))) {
        return vec![(focus, body)];
    }
    if !wide {
        let upper = body.height * 9 / 20;
        let lower = if focus == Pane::Map { Pane::Hot } else { focus };
        return vec![
            (Pane::Map, Rect { height: upper, ..body }),
            (lower, Rect { y: body.y + upper, height: body.height - upper, ..body }),
        ];
    }
    let left = if body.width >= 150 { body.width * 48 / 100 } else { body.width * 45 / 100 };
    let right = Rect { x: body.x + left, width: body.width - left, ..body };
    let mut places = vec![(Pane::Map, Rect { width: left, ..body })];
    let shares: &[(Pane, u16)] = if body.height >= 44 {
        &[(Pane::Hot, 38), (Pane::Routes, 22), (Pane::Requests, 20), (Pane::Problems, 20)]
    } else if body.height >= 34 && focus == Pane::Problems {
        &[(Pane::Hot, 46), (Pane::Routes, 27), (Pane::Problems, 27)]
    } else if body.height >= 34 {
        &[(Pane::Hot, 46), (Pane::Routes, 27), (Pane::Requests, 27)]
    } else if focus == Pane::Problems {
        &[(Pane::Hot, 50), (Pane::Problems, 50)]
    } else if focus == Pane::Requests {
        &[(Pane::Hot, 60), (Pane::Requests, 40)]
    } else {
        &[(Pane::Hot, 60), (Pane::Routes, 40)]
    };
    let mut y = right.y;
    for (index, &(pane, share)) in shares.iter().enumerate() {
        let height = if index + 1 == shares.len() {
            right.bottom() - y
        } else {
            (u32::from(right.height) * u32::from(share) / 100) as u16
        };
        places.push((pane, Rect { y, height, ..right }));
        y += height;
    }
    places
}
