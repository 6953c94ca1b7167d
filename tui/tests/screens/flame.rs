//! Claims about the flame view: what is drawn at several sizes, and that keys and the mouse lead where they say.

use std::sync::Arc;

use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use jiff::SignedDuration;
use tusktop::{
    model::{Php, Snapshot},
    recording::RingLimits,
    ui::theme::ColorDepth,
    view::{
        Pane,
        flame::{Half, Step},
    },
};

use crate::{
    snapshot::{hostile, php_without_permission, web01},
    stage::Stage,
};

fn flame(width: u16, height: u16) -> Stage {
    Stage::showing(web01(), width, height).keys("F")
}

fn changed(change: impl Fn(&mut Php)) -> Snapshot {
    let mut snapshot = web01();
    let mut php = (*snapshot.php).clone();
    change(&mut php);
    snapshot.php = Arc::new(php);
    snapshot
}

/// The frame that is selected, by its name.
fn selected(stage: &Stage) -> String {
    let spot = stage.app.view.flame.as_ref().and_then(|flame| flame.selected.as_ref()).unwrap();
    spot.path.last().unwrap().name().into_owned()
}

fn click(stage: &mut Stage, column: u16, row: u16) {
    let kind = MouseEventKind::Down(MouseButton::Left);
    stage.event(&Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }));
}

#[test]
fn flame_80x24() {
    insta::assert_snapshot!(flame(80, 24).keys("jjj").text());
}

#[test]
fn flame_120x30() {
    insta::assert_snapshot!(flame(120, 30).text());
}

#[test]
fn flame_200x50() {
    insta::assert_snapshot!(flame(200, 50).keys("j/wpdb<enter>").text());
}

#[test]
fn around_a_function_120x30() {
    insta::assert_snapshot!(flame(120, 30).keys("jjjjC").text());
}

#[test]
fn without_colours_lines_are_between_frames_and_waiting_is_dotted() {
    insta::assert_snapshot!(flame(120, 30).theme("mono", ColorDepth::Mono).text());
}

#[test]
fn in_ascii_nothing_else_is_drawn() {
    let mut stage = flame(100, 30);
    stage.ascii = true;
    stage.draw();
    assert!(stage.text().is_ascii(), "{}", stage.text());
}

#[test]
fn every_size_and_depth_is_drawn_with_hostile_names() {
    for (width, height) in [(40, 10), (41, 11), (80, 24), (120, 30), (300, 80), (5, 5), (80, 4)] {
        for (theme, depth) in [("mono", ColorDepth::Mono), ("16", ColorDepth::Sixteen), ("dark", ColorDepth::Indexed)] {
            let mut stage = Stage::showing(hostile(), width, height).theme(theme, depth).keys("FjjjC/x<enter>nV");
            assert!(!stage.text().contains('\u{1b}') && !stage.text().contains('\u{202e}'));
            stage.press("<esc><esc><esc><esc>");
            assert_eq!(stage.app.view.flame, None, "esc leads out");
        }
    }
}

#[test]
fn enter_zooms_and_esc_goes_back_to_what_was_entered() {
    let mut stage = flame(120, 30).keys("jj");
    let name = selected(&stage);
    stage.press("<enter>");
    let shown = stage.shown.scene.flame.clone().unwrap();
    assert_eq!((shown.frames[0].frame.name().into_owned(), shown.frames[0].span), (name.clone(), (0, 120 * 8)));
    stage.press("j");
    assert_ne!(selected(&stage), name);
    stage.press("<esc>");
    assert_eq!(selected(&stage), name);
    stage.press("<esc>");
    assert_eq!(stage.app.view.flame, None);
    assert!(stage.text().contains("hot functions"));
}

#[test]
fn what_is_zoomed_and_selected_stays_while_other_stacks_come() {
    let mut stage = flame(120, 30).keys("jj<enter>j");
    let (before, zoomed) = (selected(&stage), stage.app.view.flame.clone().unwrap().steps);
    // Other functions, in other places of the lists.
    stage.push(changed(|php| {
        let by = php.functions.len();
        let mut others = php.functions.clone();
        for function in &mut others {
            let key = Arc::make_mut(&mut function.key);
            key.name = format!("other_{}", key.name).into();
        }
        others.append(&mut php.functions);
        php.functions = others;
        let stacks = php.stacks.clone();
        php.stacks.iter_mut().flat_map(|stack| &mut stack.frames).for_each(|frame| *frame += by);
        php.stacks.extend(stacks);
    }));
    assert_eq!((selected(&stage), &stage.app.view.flame.clone().unwrap().steps), (before.clone(), &zoomed));
    let scene = stage.shown.scene.flame.clone().unwrap();
    let found = scene.find(stage.app.view.flame.as_ref().unwrap().selected.as_ref().unwrap()).unwrap();
    assert_eq!(scene.frames[found].frame.name(), before);
}

#[test]
fn a_zoomed_frame_that_has_no_time_is_said_and_comes_back() {
    let mut stage = flame(120, 30).keys("jj<enter>");
    let name = stage.shown.scene.flame.clone().unwrap().frames[0].frame.name().into_owned();
    stage.press("ww");
    let window = |stage: &mut Stage, snapshot| {
        stage.push(snapshot);
        stage.text()
    };
    stage.press("ww");
    let text = window(&mut stage, changed(|php| php.stacks.clear()));
    stage.press("www");
    let text = if text.contains("no time in") { text } else { stage.text() };
    assert!(text.contains(&format!("no time in {name}")), "{text}");
    stage.press("w");
    stage.push(web01());
    assert_eq!(stage.shown.scene.flame.clone().unwrap().frames[0].frame.name(), name);
}

#[test]
fn a_search_says_its_share_and_n_goes_through_what_is_found() {
    let mut stage = flame(150, 40).keys("/wpdb<enter>");
    assert!(stage.line_with("flame").contains("/ wpdb "), "{}", stage.text());
    let scene = stage.shown.scene.flame.clone().unwrap();
    let found = scene.frames.iter().filter(|placed| placed.found).count();
    assert!(found > 1 && scene.frames.iter().any(|placed| !placed.found));
    let mut names = Vec::new();
    for _ in 0..found {
        stage.press("n");
        names.push(stage.app.view.flame.as_ref().unwrap().selected.clone());
    }
    names.dedup();
    assert_eq!(names.len(), found);
    stage.press("n");
    assert_eq!(stage.app.view.flame.as_ref().unwrap().selected, names[0], "after the last comes the first");
    stage.press("<esc>");
    assert!(stage.app.view.flame.as_ref().unwrap().search.is_empty());
}

#[test]
fn a_click_selects_a_second_one_zooms_and_the_line_above_goes_back() {
    let mut stage = flame(120, 30);
    let scene = stage.shown.scene.flame.clone().unwrap();
    let placed = scene.frames.iter().find(|placed| placed.level == 2 && placed.span.1 > 80).unwrap().clone();
    let at = (scene.area.x + (placed.span.0 / 8) as u16 + 2, placed.y.unwrap());
    click(&mut stage, at.0, at.1);
    assert_eq!(selected(&stage), placed.frame.name());
    click(&mut stage, at.0, at.1);
    assert!(matches!(stage.app.view.flame.as_ref().unwrap().steps[..], [Step::Zoom(_)]));
    let way = stage.shown.scene.flame.clone().unwrap().way.unwrap();
    click(&mut stage, way.x + 3, way.y);
    assert!(stage.app.view.flame.as_ref().unwrap().steps.is_empty());
}

#[test]
fn every_click_finds_what_is_drawn_there() {
    let stage = flame(120, 30);
    let scene = stage.shown.scene.flame.clone().unwrap();
    for (index, placed) in scene.frames.iter().enumerate().filter(|(_, placed)| placed.span.1 >= 16) {
        let column = scene.area.x + (placed.span.0.div_ceil(8)) as u16;
        assert_eq!(scene.at((column, placed.y.unwrap()).into()), Some(index));
    }
}

#[test]
fn callers_are_above_and_calls_below_and_their_callers_can_be_looked_at() {
    let mut stage = flame(120, 40).keys("/wpdb::query<enter>nC");
    let scene = stage.shown.scene.flame.clone().unwrap();
    let middle = scene.frames.iter().find(|placed| placed.half == Half::Callees && placed.level == 0).unwrap();
    assert!(middle.frame.name().contains("wpdb"), "{}", stage.text());
    for placed in &scene.frames {
        match (placed.half, placed.level) {
            (Half::Callers, _) => assert!(placed.y < middle.y),
            (Half::Callees, 0) => {}
            _ => assert!(placed.y > middle.y),
        }
    }
    stage.press("k");
    let caller = selected(&stage);
    stage.press("<enter>");
    let scene = stage.shown.scene.flame.clone().unwrap();
    assert_eq!(scene.frames[0].frame.name(), caller);
    stage.press("<esc>");
    assert_eq!(stage.shown.scene.flame.clone().unwrap().frames[0].frame, middle.frame);
}

#[test]
fn the_hot_list_leads_to_the_callers_of_a_function() {
    let stage = Stage::showing(web01(), 120, 40).keys("2jC");
    let flame = stage.app.view.flame.as_ref().unwrap();
    assert!(matches!(flame.steps[..], [Step::Around(_)]));
    assert!(stage.text().contains("callers above"), "{}", stage.text());
}

#[test]
fn the_flame_of_a_route_has_its_stacks_only() {
    let outermost = |stage: &Stage| {
        let frames = stage.shown.scene.flame.clone().unwrap().frames;
        frames.iter().filter(|placed| placed.parent.is_none()).map(|placed| placed.frame.clone()).collect::<Vec<_>>()
    };
    let all = outermost(&flame(150, 40));
    assert_eq!(all.len(), 2, "the shop and admin-ajax.php");
    let mut stage = Stage::showing(web01(), 150, 40).keys("3jF");
    for _ in 0..20 {
        if outermost(&stage).len() == 1 {
            break;
        }
        stage.press("FjF");
    }
    assert_eq!(outermost(&stage).len(), 1, "{}", stage.text());
    let route = stage.app.view.route.clone().unwrap();
    let title = stage.line_with("flame ");
    assert!(title.contains(&*route.route) && title.contains(&*route.method), "{title}");
}

#[test]
fn libraries_fold_and_unfold() {
    let mut stage = flame(150, 40);
    let count = |stage: &Stage| stage.shown.scene.flame.clone().unwrap().frames.len();
    let all = count(&stage);
    stage.press("V");
    assert!(count(&stage) < all && stage.text().contains("wp-includes"), "{}", stage.text());
    assert!(stage.line_with("flame ").contains("libraries folded"));
    stage.press("V");
    assert_eq!(count(&stage), all);
}

#[test]
fn the_time_that_counts_and_the_window_can_be_chosen_in_it() {
    let mut stage = flame(150, 40).keys("v");
    assert!(stage.line_with("flame ").contains("   cpu"));
    stage.press("w");
    assert!(stage.line_with("flame ").contains("last 1 m"));
    stage.press("3");
    assert!(stage.app.view.flame.is_none() && stage.app.view.focus.0 == Pane::Routes);
}

#[test]
fn without_samples_it_says_why() {
    let text = Stage::showing(php_without_permission(), 120, 30).keys("F").text();
    assert!(text.contains("not root"), "{text}");
}

#[test]
fn two_spans_are_compared_in_one_flame() {
    let mut stage = Stage::keeping(RingLimits::default(), 120, 40);
    for step in 0..20_i64 {
        let mut snapshot = changed(|php| {
            if step >= 10 {
                let hot = php.stacks.iter().position(|stack| stack.samples > 0).unwrap();
                php.stacks[hot].samples += 400;
            }
        });
        snapshot.at += SignedDuration::from_secs(step * 10);
        stage.push(snapshot);
    }
    stage.press("((([");
    stage.press(")]=.[))]");
    stage.settle();
    stage.press("F");
    let text = stage.text();
    assert!(text.contains("flame compared") && text.contains(" before, "), "{text}");
    assert!(text.contains("+"), "{text}");
}
