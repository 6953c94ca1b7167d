//! The flame view: all calls of the scope from the outermost function down, each as wide as its share of CPU time and waiting, or
//! one function between its callers and what it calls. It owns the title, the way that was entered and the line about the selected
//! frame; `rows` draws the frames.

mod rows;

use std::borrow::Cow;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    filter::{self, Filter},
    frame::Screen,
    list, paint,
    panes::{empty, hot},
};
use crate::{
    analysis::{
        flame::{Flame, Frame, Source},
        profile::{Basis, Scope},
    },
    model::{HotTime, Request},
    view::{
        FlameScene, FlameView, Scene,
        flame::{Half, Placed, Step, layout::layout},
    },
    words::{names, printable, units},
};

/// What is drawn, beside the frames themselves.
struct Drawn<'a> {
    /// The tree, and the one of the callers where one function is looked at.
    flame: Flame,
    callers: Option<Flame>,
    /// The node that has all the width.
    root: usize,
    search: Option<Filter>,
    view: &'a FlameView,
}

/// Draws the flame.
pub(super) fn draw(buffer: &mut Buffer, body: Rect, view: &FlameView, screen: &Screen, scene: &mut Scene) {
    let source = source(screen);
    let search = (!view.search.is_empty()).then(|| Filter::new(&view.search));
    let mut placed = FlameScene::default();
    if body.height < 3 {
        return;
    }
    let (title_line, rest) = (Rect { height: 1, ..body }, Rect { y: body.y + 1, height: body.height - 2, ..body });
    let drawn = match view.steps.last() {
        Some(Step::Around(frame)) => {
            let callers = source.callers(frame);
            Some(Drawn { flame: source.callees(frame), callers: Some(callers), root: 0, search, view })
        }
        Some(Step::Zoom(path)) => {
            let flame = source.flame();
            let root = flame.find(path);
            placed.base = path[..path.len().saturating_sub(1)].to_vec();
            root.map(|root| Drawn { flame, callers: None, root, search, view })
        }
        None => Some(Drawn { flame: source.flame(), callers: None, root: 0, search, view }),
    };
    title(buffer, title_line, &source, drawn.as_ref(), screen);
    let mut area = rest;
    if let Some(step) = view.steps.last() {
        let line = Rect { height: 1, ..area };
        way(buffer, line, step, screen);
        placed.way = Some(line);
        area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    }
    placed.area = area;
    let last = Rect { y: body.bottom() - 1, height: 1, ..body };
    match drawn {
        Some(drawn) if !drawn.flame.is_empty() => {
            place(&drawn, area, &mut placed);
            let selected = view.selected.as_ref().and_then(|spot| placed.find(spot));
            scroll(&mut placed, selected);
            rows::draw(buffer, &drawn, &placed, selected, screen);
            about(buffer, last, &drawn, &source, &placed, selected, screen);
        }
        drawn => {
            let is_gone = view.steps.last().filter(|_| drawn.is_none() || view.steps.len() > 1 || drawn.is_some());
            let lines = why_empty(screen, is_gone);
            list::empty(buffer, area, &lines.iter().map(|line| &**line).collect::<Vec<_>>(), screen);
        }
    }
    scene.flame = Some(placed);
}

/// The stacks that are shown.
fn source<'a>(screen: &'a Screen) -> Source<'a> {
    Source {
        now: (screen.php, screen.covered.as_secs_f64()),
        before: screen.before.map(|(php, covered)| (php, covered.as_secs_f64())),
        scope: &screen.scope,
        basis: Basis::of(screen.php, screen.view.hot_time),
        fold: screen.view.folded.then_some(screen.fold),
    }
}

impl Drawn<'_> {
    /// The tree of a half.
    fn tree(&self, half: Half) -> &Flame {
        match (half, &self.callers) {
            (Half::Callers, Some(callers)) => callers,
            _ => &self.flame,
        }
    }

    fn matches(&self, frame: &Frame) -> bool {
        self.search.as_ref().is_some_and(|search| search.has(&[&frame.name(), &frame.place()]))
    }
}

/// Where the frames of both halves are, before what is out of sight is known.
fn place(drawn: &Drawn, area: Rect, scene: &mut FlameScene) {
    let around = match drawn.view.steps.last() {
        Some(Step::Around(frame)) => Some(frame),
        _ => None,
    };
    for (half, root) in [(Half::Callees, drawn.root), (Half::Callers, 0)] {
        if half == Half::Callers && drawn.callers.is_none() {
            break;
        }
        let flame = drawn.tree(half);
        // The root of all is no frame, and the one of the callers is in the other half.
        let skipped = half == Half::Callers || (root == 0 && around.is_none());
        let mut numbers = Vec::new();
        for slab in layout(flame, root, area.width) {
            if skipped && slab.level == 0 {
                numbers.push(None);
                continue;
            }
            let frame = match around {
                Some(frame) if slab.level == 0 => frame,
                _ => flame.frame(slab.node),
            };
            numbers.push(Some(scene.frames.len()));
            scene.frames.push(Placed {
                frame: frame.clone(),
                node: slab.node,
                parent: slab.parent.and_then(|parent| numbers[parent]),
                half,
                level: slab.level,
                span: (slab.start, slab.width),
                cpu: slab.cpu,
                y: None,
                found: drawn.matches(frame),
            });
        }
    }
}

/// Gives every frame its line, so that the selected one is in sight.
fn scroll(scene: &mut FlameScene, selected: Option<usize>) {
    let height = usize::from(scene.area.height);
    let levels = |half| scene.frames.iter().filter(|placed| placed.half == half).map(|placed| placed.level).max();
    let first = scene.frames.iter().map(|placed| placed.level).min().unwrap_or(0);
    let above = levels(Half::Callers).unwrap_or(0);
    let below = levels(Half::Callees).unwrap_or(0) + 1 - first.min(1);
    // The function in the middle is as far down as its callers need, but leaves half of the screen to what it calls.
    let mut middle = above.min((height / 2).max(height.saturating_sub(below))) as isize;
    if let Some(placed) = selected.map(|selected| &scene.frames[selected]) {
        let level = placed.level as isize - if above == 0 { first as isize } else { 0 };
        match placed.half {
            Half::Callees => middle = middle.min(height as isize - 1 - level),
            Half::Callers => middle = middle.max(level),
        }
    }
    let top = if above == 0 { first as isize } else { 0 };
    for placed in &mut scene.frames {
        let level = placed.level as isize - top;
        let line = match placed.half {
            Half::Callees => middle + level,
            Half::Callers => middle - level,
        };
        placed.y = usize::try_from(line).ok().filter(|line| *line < height).map(|line| scene.area.y + line as u16);
    }
}

fn title(buffer: &mut Buffer, line: Rect, source: &Source, drawn: Option<&Drawn>, screen: &Screen) {
    let palette = screen.palette;
    let window = screen.window_name();
    let of = scope_name(source.scope, screen);
    let root = drawn.map(|drawn| &drawn.flame.nodes[drawn.root]);
    let time = root.map_or_else(String::new, |root| match source.before {
        None => hot::amount(source.basis.time, root.now),
        Some(_) => format!("{} before, {} now", rate(source, root.before), rate(source, root.now)),
    });
    let mut searched = String::new();
    if let (Some(drawn), false) = (drawn, screen.view.flame.as_ref().is_none_or(|view| view.search.is_empty())) {
        let root = &drawn.flame.nodes[drawn.root];
        let found = drawn.flame.matching(drawn.root, |frame| drawn.matches(frame));
        let fault =
            filter::fault(&drawn.view.search).map_or_else(String::new, |why| format!(" (as plain text: {why})"));
        let share = units::percent(found as f64 / root.now.max(1) as f64);
        searched = format!("/ {}{fault} {share}", drawn.view.search);
    }
    let left_out = match (screen.php.left_out_samples, source.scope.is_of_requests()) {
        (_, true) => left_out_of_requests(screen),
        (0, false) => String::new(),
        (samples, false) => format!("{} samples of rare stacks not shown", units::count(samples)),
    };
    let parts: [(&str, Style); 8] = [
        (if source.before.is_some() { "flame compared" } else { "flame" }, palette.focus),
        (&searched, palette.warn),
        (&window, palette.muted),
        (&of, palette.text),
        (hot::time_name(screen.view.hot_time), palette.muted),
        (&time, palette.text),
        (if source.fold.is_some() { "libraries folded" } else { "" }, palette.muted),
        (&left_out, palette.warn),
    ];
    let (mut x, end) = (line.x + 1, line.right());
    for (part, style) in parts.into_iter().filter(|(part, _)| !part.is_empty()) {
        // What does not fit is left out whole, for half a word says nothing; a search is cut.
        if x + 4 > end {
            break;
        }
        x = paint::put(buffer, (x, line.y), end.saturating_sub(x), part, style) + 3;
    }
}

/// What the flame is about.
fn scope_name(scope: &Scope, screen: &Screen) -> String {
    let Scope::Request { worker, .. } = scope else { return hot::scope_name(scope) };
    match request(scope, screen) {
        Some(request) if request.uri.is_empty() => {
            let route = screen.php.routes.get(request.route).map_or("-", names::route);
            format!("{route} of {}", names::worker(*worker))
        }
        Some(request) => format!("{} {} of {}", request.method, request.uri, names::worker(*worker)),
        None => hot::scope_name(scope),
    }
}

/// The request that the flame is about, while it is known.
fn request<'a>(scope: &Scope, screen: &'a Screen) -> Option<&'a Request> {
    let running = screen.snapshot.iter().flat_map(|snapshot| &snapshot.php.requests);
    let mut requests = screen.php.requests.iter().chain(running);
    requests.find(|request| scope.has_request(request.worker(), Some(request.started_at)))
}

/// What of the requests is not in the picture.
fn left_out_of_requests(screen: &Screen) -> String {
    match (&screen.php.short_request_stacks, screen.php.left_out_request_stacks) {
        (None, _) => "partly known: requests of 1 s and more, their main stacks".to_owned(),
        (Some(_), 0) => String::new(),
        (Some(_), rows) => format!("{} rare stacks of requests not kept", units::count(rows)),
    }
}

/// The line of what was entered: a click on it or Esc goes back.
fn way(buffer: &mut Buffer, line: Rect, step: &Step, screen: &Screen) {
    let palette = screen.palette;
    let text = match step {
        Step::Around(frame) => format!("callers above, and what is called below: {}", frame.name()),
        Step::Zoom(path) => {
            let names: Vec<Cow<str>> = path.iter().rev().skip(1).map(Frame::name).collect();
            format!("in {}", if names.is_empty() { "all".to_owned() } else { names.join(" < ") })
        }
    };
    let back = "esc back";
    let room = line.width.saturating_sub(back.len() as u16 + 4);
    paint::put(buffer, (line.x + 1, line.y), room, &text, palette.muted);
    paint::put_right(buffer, (line.x, line.y), line.width.saturating_sub(1), back, palette.muted);
}

/// The line about the selected frame.
fn about(
    buffer: &mut Buffer,
    line: Rect,
    drawn: &Drawn,
    source: &Source,
    scene: &FlameScene,
    selected: Option<usize>,
    screen: &Screen,
) {
    let palette = screen.palette;
    let mut x = line.x + 1;
    let mut put = |text: &str, style| {
        if !text.is_empty() && x < line.right() {
            x = paint::put(buffer, (x, line.y), line.right() - x, text, style) + 3;
        }
    };
    let Some(placed) = selected.map(|selected| &scene.frames[selected]) else {
        let what = match screen.view.hot_time {
            _ if source.before.is_some() => {
                "width: the larger of both spans; colour: what is more and what is less now"
            }
            HotTime::Both => "width: CPU time and waiting, which is the second shade",
            HotTime::Cpu => "width: CPU time",
            HotTime::Wait => "width: waiting",
            HotTime::Memory => "width: growth of memory",
        };
        return put(what, palette.muted);
    };
    let flame = drawn.tree(placed.half);
    let node = &flame.nodes[placed.node];
    let whole = &flame.nodes[0];
    let share = |ns: u64, of: u64| units::percent_column(ns as f64 / of.max(1) as f64);
    let facts = match source.before {
        None => {
            let own = source.basis.amount(node.own);
            let text = |amount| hot::amount(source.basis.time, amount);
            let mut facts = format!("{} ({})", text(node.now), share(node.now, whole.now));
            if placed.half == Half::Callees {
                facts += &format!("   self {} ({})", text(own), share(own, whole.now));
            }
            let wait = node.now - node.cpu;
            if screen.view.hot_time == HotTime::Both && wait > 0 {
                facts += &format!("   waiting {}", share(wait, node.now));
            }
            facts
        }
        Some(_) => {
            let (sign, by) = match node.now.checked_sub(node.before) {
                Some(more) => ("+", more),
                None => ("-", node.before - node.now),
            };
            let noise = if flame.is_noise(node) { "   may be chance" } else { "" };
            let (before, now) = (rate(source, node.before), rate(source, node.now));
            format!("{before} before   {now} now   {sign}{}{noise}", rate(source, by))
        }
    };
    // The numbers stay; of the place, the end.
    let (name, place) = (placed.frame.name(), placed.frame.place());
    let room = usize::from(line.width).saturating_sub(facts.chars().count() + 8);
    let (name, place) = (printable::printable(&name), printable::printable(&place));
    let name = printable::truncate_end(&name, room.max(12));
    let left = room.saturating_sub(printable::width(&name) + 3);
    put(&name, palette.title);
    if left >= 12 {
        put(&printable::truncate_start(&place, left), palette.muted);
    }
    put(&facts, palette.text);
}

/// Nanoseconds per second, as a share of a core or of a worker; bytes per second.
fn rate(source: &Source, amount: u64) -> String {
    match source.basis.time {
        HotTime::Memory => format!("{}/s", units::bytes(amount)),
        HotTime::Both | HotTime::Cpu | HotTime::Wait => units::percent_column(amount as f64 / 1e9),
    }
}

fn why_empty(screen: &Screen, step: Option<&Step>) -> Vec<String> {
    let name = match step {
        Some(Step::Around(frame)) => Some(frame.name()),
        Some(Step::Zoom(path)) => path.last().map(Frame::name),
        None => None,
    };
    if let Some(name) = name {
        return vec![
            format!("no time in {name} in this window and scope"),
            "it is shown again when there is; esc goes back".into(),
        ];
    }
    let tier = hot::tier(screen.view.hot_time);
    let of_requests = why_empty_of_requests(screen);
    let lines = empty::why_unfiltered(screen, &[tier], "waiting for the first samples …", || match screen.scope {
        Scope::Worker(_) | Scope::Request { .. } => of_requests.iter().map(|line| &**line).collect(),
        Scope::All => vec!["no PHP activity in this window", "press w for a longer one"],
        Scope::Group(_) | Scope::Route(_) => vec!["no activity in this window and scope", "w: a longer one, esc: back"],
    });
    lines.into_iter().map(str::to_owned).collect()
}

/// Why a request or a worker has no stack here.
fn why_empty_of_requests(screen: &Screen) -> Vec<String> {
    let wider = "w: a longer window, esc: back".to_owned();
    if screen.php.short_request_stacks.is_none() {
        return vec![
            "what single requests and workers did is kept only of requests that ran for 1 s or more,".into(),
            "and of the 16 longest of each snapshot, in recordings and in the past of the screen".into(),
            "the flame of its route or group has all of them; w: a longer window, esc: back".into(),
        ];
    }
    match &screen.scope {
        Scope::Worker(worker) => vec![format!("{} ran no PHP code in this window", names::worker(*worker)), wider],
        scope => match request(scope, screen) {
            None => vec![
                "this request is not in this window".into(),
                "requests that were shorter than 1 s keep their stacks for a minute; esc: back".into(),
            ],
            Some(request) => {
                let known = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), units::duration_ms);
                let used = format!("it used {} of CPU and waited {}", known(request.cpu_ms), known(request.wait_ms));
                vec![
                    "no sample and no wait of this request was seen in this window".into(),
                    format!("{used}; samples are some 10 ms apart"),
                    wider,
                ]
            }
        },
    }
}
