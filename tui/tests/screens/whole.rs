//! Whole screens from fixture snapshots and key scripts.

use std::sync::Arc;

use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::{buffer::Buffer, style::Modifier};
use tusktop::{
    app::Command,
    model::{Function, SeenBy, Stack, Tier, TierStatus, Tiers},
    ui::theme::ColorDepth,
    view::{Pane, Row, TileKey},
};

use crate::{
    snapshot::{add_group, busy, empty, hostile, php_without_permission, web01, without_php},
    stage::Stage,
};

#[test]
fn overview_200x50() {
    insta::assert_snapshot!(Stage::showing(web01(), 200, 50).text());
}

#[test]
fn overview_120x30() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).text());
}

#[test]
fn overview_80x24() {
    insta::assert_snapshot!(Stage::showing(web01(), 80, 24).text());
}

#[test]
fn overview_30x8() {
    insta::assert_snapshot!(Stage::showing(web01(), 30, 8).text());
}

#[test]
fn before_the_first_snapshot() {
    insta::assert_snapshot!(Stage::new(120, 30).text());
}

#[test]
fn a_server_without_php_gives_the_map_all_the_width() {
    insta::assert_snapshot!(Stage::showing(without_php(), 120, 30).text());
}

#[test]
fn every_tier_that_is_missing_is_said_with_its_reason_where_it_would_be_seen() {
    for tier in Tier::ALL {
        let mut snapshot = php_without_permission();
        let mut php = (*snapshot.php).clone();
        for target in &mut php.targets {
            target.tiers = Tiers::new(|_| TierStatus::on(SeenBy::Usdt));
            target.tiers[tier] = TierStatus::unavailable("this is the reason");
        }
        snapshot.php = Arc::new(php);
        let keys = match tier {
            Tier::Waiting => "vv",
            Tier::Growth => "vvv",
            Tier::Peaks => "3M",
            Tier::Exact => "X",
            _ => "",
        };
        let text = Stage::showing(snapshot, 200, 50).keys(keys).text();
        assert!(text.contains("this is the reason"), "{tier:?}:\n{text}");
        assert!(text.contains(tier.unseen()) || tier.is_on_demand(), "{tier:?}:\n{text}");
    }
}

#[test]
fn an_empty_pane_says_that_a_part_of_php_is_not_seen() {
    let mut snapshot = php_without_permission();
    let mut php = (*snapshot.php).clone();
    let mut other = php.targets[0].clone();
    php.targets[0].tiers = Tiers::new(|_| TierStatus::on(SeenBy::Usdt));
    other.tiers = Tiers::new(|_| TierStatus::unavailable("this is the reason"));
    php.targets.push(other);
    snapshot.php = Arc::new(php);
    let text = Stage::showing(snapshot, 120, 30).keys("5").text();
    assert!(text.contains("no exceptions, errors or compiled files in this window"), "{text}");
    assert!(text.contains("some PHP is not observed: press ! to see why"), "{text}");
}

#[test]
fn php_without_permission_says_what_to_type() {
    insta::assert_snapshot!(Stage::showing(php_without_permission(), 120, 30).text());
}

#[test]
fn ascii_200x50() {
    let mut stage = Stage::showing(web01(), 200, 50);
    stage.ascii = true;
    stage.draw();
    assert!(stage.text().is_ascii());
    insta::assert_snapshot!(stage.text());
}

#[test]
fn enter_zooms_into_the_processes_of_a_group() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).keys("l<enter>").text());
}

#[test]
fn enter_on_a_process_shows_its_details_and_its_request() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).keys("l<enter>l<enter>").text());
}

#[test]
fn enter_on_a_function_shows_callers_callees_and_routes() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).keys("2/_do_query<enter><enter>").text());
}

#[test]
fn files_over_a_minute_by_total() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).keys("fw2T").text());
}

#[test]
fn the_help_is_made_from_the_key_map() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 60).keys("?").text());
}

#[test]
fn the_help_is_searched_by_typing() {
    let stage = Stage::showing(web01(), 120, 30).keys("?filter");
    insta::assert_snapshot!(stage.text());
}

#[test]
fn selection_120x30_in_256_colours() {
    insta::assert_debug_snapshot!(Stage::showing(web01(), 120, 30).keys("l").buffer);
}

#[test]
fn cpu_heat_80x24_in_truecolour() {
    let stage = Stage::showing(web01(), 80, 24).theme("colorblind", ColorDepth::Truecolor).keys("c");
    let stage = stage.keys("c");
    insta::assert_debug_snapshot!(stage.buffer);
}

#[test]
fn without_colours_the_selection_is_still_marked() {
    let stage = Stage::showing(web01(), 80, 24).theme("mono", ColorDepth::Mono).keys("l<tab>j");
    assert!(stage.buffer.content.iter().all(|cell| is_colourless(cell.fg) && is_colourless(cell.bg)));
    let reversed = stage.buffer.content.iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED)).count();
    assert!(reversed > 60, "the row of the list and the label of the tile are reversed: {reversed}");
}

fn is_colourless(colour: ratatui::style::Color) -> bool {
    colour == ratatui::style::Color::Reset
}

#[test]
fn selecting_a_pool_narrows_the_lists_to_it() {
    let mut stage = Stage::showing(web01(), 200, 50);
    assert!(stage.line_with("hot functions").contains("all pools"));
    stage.press("ll");
    assert!(stage.line_with("hot functions").contains("php-fpm: admin"), "{}", stage.text());
    assert!(!stage.text().contains("/product/:n"), "a route of another pool is gone");
    stage.press("<esc>");
    assert!(stage.line_with("hot functions").contains("all pools"));
}

#[test]
fn enter_on_a_route_narrows_to_it_and_escape_widens() {
    let mut stage = Stage::showing(web01(), 200, 50);
    stage.press("3/checkout<enter><enter>");
    assert!(stage.line_with("hot functions").contains("POST /checkout"));
    assert!(stage.line_with("requests   last").contains("POST /checkout"));
    stage.press("<esc><esc>");
    assert!(stage.line_with("hot functions").contains("all pools"));
}

#[test]
fn escape_goes_up_level_by_level_and_never_quits() {
    let mut stage = Stage::showing(web01(), 120, 30).keys("l<enter>l<enter>");
    assert!(stage.text().contains("process 4"));
    for expected in ["processes of php-fpm: www", "memory by group", "memory by group", "memory by group"] {
        stage.press("<esc>");
        assert!(stage.text().contains(expected), "{expected}");
    }
    assert!(!stage.commands.iter().any(|command| matches!(command, Command::Leave(_))));
    stage.press("q");
    assert_eq!(stage.commands.last(), Some(&Command::Leave(0)));
}

#[test]
fn the_tile_of_the_rest_can_be_entered() {
    let mut stage = Stage::showing(web01(), 80, 24);
    let rest = stage.shown.scene.tiles.clone().expect("a treemap").merged;
    assert!(rest > 1);
    stage.app.view.pane_mut(Pane::Map).selected = Some(Row::Rest);
    stage.press("<enter>");
    assert!(stage.text().contains("other groups"));
    let inside = stage.shown.scene.tiles.clone().expect("a treemap");
    assert_eq!(inside.tiles.iter().filter(|tile| tile.key.is_some()).count() + inside.merged, rest);
    stage.press("<esc>");
    assert_eq!(stage.app.view.pane(Pane::Map).selected, Some(Row::Rest));
}

#[test]
fn a_filter_that_matches_nothing_says_so() {
    let mut stage = Stage::showing(web01(), 120, 30).keys("/no such thing");
    assert!(stage.text().contains("nothing matches the filter"));
    assert!(stage.line_with("memory by group").contains("filter: no such thing"));
    stage.press("<esc>");
    assert!(stage.text().contains("mariadbd"));
}

#[test]
fn a_filter_matches_users_and_pids_of_processes() {
    let by_user = Stage::showing(web01(), 120, 30).keys("/^mysql$<enter>");
    assert_eq!(by_user.shown.scene.tiles.clone().expect("a treemap").tiles.len(), 1);
    let pid = web01().processes.iter().find(|p| &*p.comm == "chronyd").expect("chronyd").pid;
    let by_pid = Stage::showing(web01(), 120, 30).keys(&format!("/^{pid}$<enter>"));
    assert!(by_pid.line_with("chrony").contains("100 %"));
}

#[test]
fn the_selection_stays_on_its_name_when_ranks_change() {
    let mut stage = Stage::showing(web01(), 120, 30).keys("2jj");
    let chosen = stage.app.view.pane(Pane::Hot).selected.clone().expect("a row is selected");
    let mut next = web01();
    let mut php = (*next.php).clone();
    php.functions.reverse();
    let last = php.functions.len() - 1;
    for stack in &mut php.stacks {
        stack.frames.iter_mut().for_each(|frame| *frame = last - *frame);
    }
    php.functions[0].self_samples += 1000;
    next.php = Arc::new(php);
    next.at += jiff::SignedDuration::from_secs(1);
    stage.push(next);
    assert_eq!(stage.app.view.pane(Pane::Hot).selected, Some(chosen.clone()));
    assert!(stage.shown.scene.lists[Pane::Hot as usize].rows.contains(&chosen));
}

#[test]
fn a_zoomed_group_that_ends_says_so() {
    let mut stage = Stage::showing(web01(), 120, 30).keys("l<enter>");
    stage.push(without_php());
    assert!(stage.text().contains("this group has ended"), "{}", stage.text());
}

#[test]
fn unknown_values_are_a_dash_and_never_zero() {
    let mut snapshot = web01();
    snapshot.groups[0].memory.rss_bytes = None;
    snapshot.system.cpu_ratio = None;
    snapshot.cost = tusktop::model::Cost::default();
    let mut stage = Stage::showing(snapshot, 150, 40).keys("t");
    assert!(stage.line_with("php-fpm: www  ").contains(" - "), "{}", stage.text());
    assert!(stage.line_with("load").contains("cpu -"));
    assert!(stage.line_with("own cost").contains("own cost -"));
    stage.press("G");
    assert!(stage.text().contains("php-fpm: www"));
}

#[test]
fn growth_shows_after_a_quarter_of_a_minute_and_per_minute_after_a_minute() {
    for (seconds, text) in [(31, "+27 MiB in 27 s"), (75, "▲ 60 MiB/min")] {
        let mut stage = Stage::new(200, 50);
        stage.push_each(&web01(), seconds, |snapshot, second| {
            let group = &mut snapshot.groups[0];
            group.memory.rss_bytes = group.memory.rss_bytes.map(|bytes| bytes + second as u64 * (1 << 20));
        });
        assert!(stage.text().contains(text), "{}", stage.text());
        assert_eq!(stage.text().contains("▲ 60 MiB/min"), seconds > 60);
    }
}

#[test]
fn tiles_keep_their_place_while_sizes_wobble() {
    let mut stage = Stage::showing(web01(), 200, 50);
    let before = stage.shown.scene.tiles.clone().expect("a treemap");
    stage.push_each(&web01(), 20, |snapshot, second| {
        for (index, group) in snapshot.groups.iter_mut().enumerate() {
            let wobble = (second as u64 * 7 + index as u64 * 3) % 5;
            group.memory.rss_bytes = group.memory.rss_bytes.map(|bytes| bytes * (1000 + wobble) / 1000);
        }
    });
    let after = stage.shown.scene.tiles.clone().expect("a treemap");
    assert_eq!(before.tiles, after.tiles);
}

#[test]
fn a_click_selects_and_a_second_click_enters() {
    let mut stage = Stage::showing(web01(), 200, 50);
    let click = |x, y| {
        Event::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: x,
            row: y,
            modifiers: KeyModifiers::NONE,
        })
    };
    stage.event(&click(5, 5));
    assert_eq!(stage.app.view.pane(Pane::Map).selected, Some(Row::Tile(TileKey::Group("php-fpm: www".into()))));
    stage.event(&click(5, 5));
    assert!(stage.text().contains("processes of php-fpm: www"));
    let (hint, _) = stage.shown.scene.hints.iter().find(|(_, action)| *action == "help").expect("a hint");
    stage.event(&click(hint.x, hint.y));
    assert!(stage.text().contains("type to search"));
}

#[test]
fn notices_are_all_shown_with_what_to_type() {
    let stage = Stage::showing(php_without_permission(), 120, 30).keys("!");
    assert!(stage.text().contains("sudo tusktop"));
}

#[test]
fn every_size_is_drawn_without_a_panic_and_without_control_characters() {
    let mut stages = Vec::new();
    for keys in ["", "l", "l<enter>l<enter>", "2<enter>", "t", "?", "!", "s", "/x", "3", "4<enter>"] {
        stages.push(Stage::showing(hostile(), 120, 30).keys(keys));
    }
    stages.push(Stage::new(120, 30));
    stages.push(Stage::showing(empty(), 120, 30));
    let (narrow, wide) = ((1..45).collect::<Vec<u16>>(), (46..=220).step_by(19));
    let widths: Vec<u16> = narrow.iter().copied().chain(wide).chain([79, 80, 119, 120, 149, 150]).collect();
    let heights: Vec<u16> = (1..16).chain((17..=60).step_by(6)).chain([23, 24, 36, 37]).collect();
    for (number, stage) in stages.iter_mut().enumerate() {
        // Each stage takes its share of the sizes, and all take those at the borders of a layout.
        for (at, &width) in widths.iter().enumerate() {
            for (also, &height) in heights.iter().enumerate() {
                if (at + also) % 4 == number % 4 || [1, 2, 39, 40, 79, 80, 119, 120].contains(&width) {
                    stage.resize(width, height);
                    assert_cells_are_safe(&stage.buffer);
                }
            }
        }
    }
}

fn assert_cells_are_safe(buffer: &Buffer) {
    for (index, cell) in buffer.content.iter().enumerate() {
        let symbol = cell.symbol();
        let safe = symbol == tusktop::words::printable::printable(symbol);
        assert!(safe, "{symbol:?} in cell {index} of {:?}", buffer.area);
    }
}

#[test]
fn wide_names_keep_the_columns_straight() {
    let mut snapshot = empty();
    for (index, name) in ["日本語", "plain", "e\u{301}e\u{301}", "🐘 elephant"].into_iter().enumerate() {
        add_group(&mut snapshot, name, &[(8 - index as u64) << 20]);
    }
    let stage = Stage::showing(snapshot, 60, 15).keys("t");
    let ends: Vec<usize> = stage
        .text()
        .lines()
        .filter(|line| line.contains("MiB") && line.contains('×'))
        .map(tusktop::words::printable::width)
        .collect();
    assert_eq!(ends, [60; 4], "{}", stage.text());
}

#[test]
fn paused_says_so() {
    let stage = Stage::showing(web01(), 120, 30).keys("<space>");
    assert!(stage.line_with("web01").contains("PAUSED"));
}

#[test]
fn tab_brings_every_pane_to_a_small_screen() {
    let mut stage = Stage::showing(web01(), 60, 15);
    for title in ["hot functions", "routes", "requests", "problems", "workers", "memory by group"] {
        stage.press("<tab>");
        assert!(stage.text().contains(title), "{title}: {}", stage.text());
    }
}

#[test]
fn a_busy_server_is_drawn_from_bounded_lists() {
    let mut stage = Stage::new(200, 50);
    stage.push_each(&busy(2_000, 400), 3, |_, _| {});
    assert!(stage.shown.scene.lists.iter().all(|list| list.rows.len() <= 1_000));
    stage.press("l<enter>");
    assert!(stage.text().contains("other ("), "hundreds of processes do not fit: the rest is one tile");
}

#[test]
fn what_takes_no_memory_has_no_tile_but_a_row() {
    let mut snapshot = empty();
    add_group(&mut snapshot, "kernel threads", &[0, 0]);
    add_group(&mut snapshot, "daemon", &[1 << 20]);
    let mut stage = Stage::showing(snapshot, 60, 15);
    assert!(!stage.text().contains("kernel threads"));
    stage.press("t");
    assert!(stage.line_with("kernel threads").contains("0 B"));
}

#[test]
fn processes_that_ended_are_told_in_the_tile_and_the_row_of_their_group() {
    let mut snapshot = empty();
    let busy = add_group(&mut snapshot, "jobs", &[8 << 20]);
    let idle = add_group(&mut snapshot, "daemon", &[8 << 20]);
    snapshot.groups[busy].ended = Some(12);
    snapshot.groups[idle].ended = Some(0);
    for keys in ["", "t"] {
        let text = Stage::showing(snapshot.clone(), 100, 15).keys(keys).text();
        assert!(text.contains("+12 ended") && text.matches("ended").count() == 1, "{text}");
    }
}

#[test]
fn g_goes_through_the_groupings_and_the_title_says_which() {
    let mut stage = Stage::showing(web01(), 160, 50);
    let total: u32 = web01().groups.iter().map(|group| group.processes).sum();
    stage.press("j<enter>");
    assert!(stage.text().contains("processes of "));
    for name in ["pool", "unit", "container", "user"] {
        stage.press("g");
        assert!(stage.text().contains(&format!("memory by {name} ")), "{name}\n{}", stage.text());
        assert!(stage.app.view.zoom.is_empty(), "what was entered is a group of another grouping");
        let grouping = stage.app.view.grouping;
        let shown = stage.timeline.grouped(grouping).expect("there is a snapshot");
        assert_eq!(shown.groups.iter().map(|group| group.processes).sum::<u32>(), total);
        assert_eq!(&*shown.groups[0].rule, format!("by {name}"));
    }
    stage.press("g");
    assert!(stage.text().contains("memory by group "));
    assert_eq!(**stage.timeline.current().expect("there is a snapshot"), web01());
}

#[test]
fn samples_of_stacks_that_are_too_many_are_said_to_be_left_out() {
    let mut snapshot = web01();
    let mut php = (*snapshot.php).clone();
    let stack = |i: usize| Stack {
        route: 0,
        frames: vec![i % 9, i / 9 % 9, i / 81],
        samples: 2,
        wait_ns: None,
        growth_bytes: None,
        truncated: false,
    };
    let key = php.functions[0].key.clone();
    php.functions.resize_with(300, || Function::seen(key.clone()));
    for (line, function) in (1..).zip(&mut php.functions) {
        Arc::make_mut(&mut function.key).line = line;
    }
    php.stacks = (0..20_400).map(stack).collect();
    snapshot.php = Arc::new(php);
    let text = "800 samples of rare stacks left out";
    assert!(Stage::showing(snapshot, 200, 50).keys("ww").line_with("own cost").contains(text));
    assert!(!Stage::showing(web01(), 200, 50).keys("ww").text().contains("left out"));
}
