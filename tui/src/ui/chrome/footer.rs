//! The lines at the bottom: the most severe notice, and the keys, made from the key map; or the filter while it is typed.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    model::{Level, Snapshot},
    ui::{frame::Screen, paint},
    view::{Scene, TIME},
    words::{names, printable},
};

/// Keys that come first, whatever is shown: those to leave and for help.
const FIRST: usize = 2;

/// What keys do in the flame view, most needed first.
const IN_FLAME: [(&str, &str); 13] = [
    ("back", "back"),
    ("enter", "zoom"),
    ("filter", "search"),
    ("callers", "callers"),
    ("fold", "fold"),
    ("time", "cpu/wait"),
    ("window", "window"),
    ("help", "help"),
    ("next-match", "next match"),
    ("top", "all"),
    ("pause", "pause"),
    ("flame", "close"),
    ("quit", "quit"),
];

/// Draws the bottom lines and says how many they are.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, scene: &mut Scene) -> u16 {
    let palette = screen.palette;
    let y = area.bottom() - 1;
    if screen.view.typing {
        let filter = match &screen.view.flame {
            Some(flame) => &flame.search,
            None => &screen.view.pane(screen.view.focus.0).filter,
        };
        let x = paint::put(buffer, (area.x + 1, y), area.width, "/", palette.focus);
        let x = paint::put_tail(buffer, (x, y), area.right().saturating_sub(x + 2), filter, palette.title);
        let x = paint::put(buffer, (x, y), 1, " ", paint::reversed(palette.text));
        let hint = "   enter keeps it   esc clears it";
        paint::put(buffer, (x, y), area.right().saturating_sub(x), hint, palette.muted);
    } else {
        hints(buffer, area, y, screen, scene);
    }
    let notices = screen.snapshot.map_or(&[][..], |snapshot| &snapshot.notices);
    let Some(notice) = notices.iter().max_by_key(|notice| notice.level) else { return 1 };
    // What is merely good to know does not take a line all the time; `!` has it.
    let observed = |snapshot: &Snapshot| snapshot.php.targets.iter().any(|target| !target.pids.is_empty());
    if notice.level == Level::Info && screen.snapshot.is_some_and(observed) {
        return 1;
    }
    if area.height < 14 {
        return 1;
    }
    let y = y - 1;
    let style = match notice.level {
        Level::Error => palette.error,
        Level::Warning => palette.warn,
        Level::Info => palette.muted,
    };
    let mark = format!("{}: ", names::level(notice.level));
    let more = match notices.len() {
        1 => String::new(),
        count => format!("   ! all {count}"),
    };
    let end = area.right().saturating_sub(1 + printable::width(&more) as u16);
    let mut x = area.x + 1;
    for (part, style) in
        [(&*mark, style), (&*notice.text, palette.text), ("   ", style), (&*notice.hint, palette.title)]
    {
        x = paint::put(buffer, (x, y), end.saturating_sub(x), part, style);
    }
    paint::put(buffer, (x, y), area.right().saturating_sub(x), &more, palette.muted);
    2
}

fn hints(buffer: &mut Buffer, area: Rect, y: u16, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let mut x = area.x + 1;
    // Keys through time come first where they are needed, and have no place elsewhere.
    if screen.view.flame.is_some() {
        for (action, short) in IN_FLAME {
            let Some(hint) = screen.hints.iter().find(|hint| hint.action == action) else { continue };
            let width = (printable::width(&hint.key) + 1 + short.len()) as u16;
            if x + width + 1 > area.right() {
                return;
            }
            scene.hints.push((Rect { x, y, width, height: 1 }, hint.action));
            let next = paint::put(buffer, (x, y), width, &hint.key, palette.title);
            x = paint::put(buffer, (next + 1, y), width, short, palette.muted) + 3;
        }
        return;
    }
    let (time, others): (Vec<_>, Vec<_>) =
        screen.hints.iter().filter(|hint| !hint.short.is_empty()).partition(|hint| hint.section == TIME);
    let time = time.into_iter().filter(|_| screen.scrub.is_some());
    let (first, rest) = others.split_at(others.len().min(FIRST));
    for hint in first.iter().copied().chain(time).chain(rest.iter().copied()) {
        let width = (printable::width(&hint.key) + 1 + printable::width(hint.short)) as u16;
        if x + width + 1 > area.right() {
            break;
        }
        scene.hints.push((Rect { x, y, width, height: 1 }, hint.action));
        let next = paint::put(buffer, (x, y), width, &hint.key, palette.title);
        x = paint::put(buffer, (next + 1, y), width, hint.short, palette.muted) + 3;
    }
}
