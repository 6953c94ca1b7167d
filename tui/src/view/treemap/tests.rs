//! Claims about the treemap, most of them for any weights and any area.

use proptest::prelude::*;

use super::*;

const MIN: MinTile = MinTile { width: 10, height: 2 };

fn items(weights: &[f64]) -> Vec<Item<usize>> {
    let mut items: Vec<_> = weights.iter().enumerate().map(|(key, &weight)| Item { key, weight }).collect();
    items.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.key.cmp(&b.key)));
    items
}

fn covers_exactly(layout: &Layout<usize>) -> bool {
    let mut seen = vec![0_u8; usize::from(layout.area.width) * usize::from(layout.area.height)];
    for position in layout.tiles.iter().flat_map(|tile| tile.rect.positions()) {
        if !layout.area.contains(position) {
            return false;
        }
        let (x, y) = (position.x - layout.area.x, position.y - layout.area.y);
        seen[usize::from(y) * usize::from(layout.area.width) + usize::from(x)] += 1;
    }
    seen.iter().all(|&count| count == 1)
}

fn keys(layout: &Layout<usize>) -> Vec<Option<usize>> {
    layout.tiles.iter().map(|tile| tile.key).collect()
}

#[test]
fn small_groups_merge_into_one_tile() {
    let mut weights = vec![1000.0, 500.0, 200.0];
    weights.extend([1.0; 37]);
    let layout = layout(&items(&weights), Rect::new(0, 0, 75, 20), MIN, None);
    assert_eq!(keys(&layout), [Some(0), Some(1), Some(2), None]);
    assert_eq!(layout.merged, 37);
}

#[test]
fn a_tile_is_about_as_wide_as_high_to_the_eye() {
    let layout = layout(&items(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0]), Rect::new(0, 0, 80, 40), MIN, None);
    assert_eq!(layout.tiles.len(), 7);
    assert!(aspect(&layout.tiles) < 2.0, "{}", aspect(&layout.tiles));
}

#[test]
fn a_small_map_shows_fewer_tiles_rather_than_wrong_ones() {
    // With as many tiles as there is room for, 37 % of the area would be in wrong ones.
    let weights =
        [1720.0, 221.0, 137.0, 114.0, 100.0, 88.0, 72.0, 65.0, 50.0, 47.0, 43.0, 36.0, 30.0, 21.0, 10.0, 10.0];
    let items = items(&weights);
    let layout = layout(&items, Rect::new(0, 0, 48, 20), MinTile { width: 12, height: 2 }, None);
    assert!(misplaced(&layout, &items) <= 0.15, "{} {layout:?}", misplaced(&layout, &items));
    let first = f64::from(layout.tiles[0].rect.area()) / f64::from(layout.area.area());
    assert!(first > 0.45, "{first} for a share of 0.62");
}

#[test]
fn a_tile_that_really_grows_gets_its_place() {
    let area = Rect::new(0, 0, 80, 20);
    let before = layout(&items(&[100.0, 90.0, 80.0]), area, MIN, None);
    let after = layout(&items(&[100.0, 90.0, 300.0]), area, MIN, Some(&before));
    assert_eq!(keys(&after), [Some(2), Some(0), Some(1)]);
}

#[test]
fn a_swap_of_two_nearly_equal_tiles_moves_nothing() {
    let area = Rect::new(0, 0, 80, 20);
    let before = layout(&items(&[100.0, 99.0, 50.0]), area, MIN, None);
    let after = layout(&items(&[99.0, 100.0, 50.0]), area, MIN, Some(&before));
    assert_eq!(before, after);
}

#[test]
fn neighbours_are_those_that_share_the_longest_edge() {
    let tile = |key, x, y, w, h| Tile { key: Some(key), rect: Rect::new(x, y, w, h) };
    let tiles = [tile(0, 0, 0, 10, 10), tile(1, 10, 0, 10, 3), tile(2, 10, 3, 10, 7)];
    assert_eq!(neighbour(&tiles, 0, Direction::Right), Some(2));
    assert_eq!(neighbour(&tiles, 2, Direction::Up), Some(1));
    assert_eq!(neighbour(&tiles, 2, Direction::Left), Some(0));
    assert_eq!(neighbour(&tiles, 0, Direction::Left), None);
}

#[test]
fn nothing_to_lay_out_is_no_tile() {
    assert!(layout::<usize>(&[], Rect::new(0, 0, 80, 20), MIN, None).tiles.is_empty());
    assert!(layout(&items(&[1.0]), Rect::ZERO, MIN, None).tiles.is_empty());
    assert_eq!(layout(&items(&[0.0, 0.0]), Rect::new(0, 0, 1, 1), MIN, None).merged, 2);
}

proptest! {
    #[test]
    fn tiles_cover_the_area_and_never_overlap(
        weights in prop::collection::vec(0.0_f64..1e12, 1..80), w in 1_u16..220, h in 1_u16..60, x in 0_u16..9, y in 0_u16..9,
    ) {
        let layout = layout(&items(&weights), Rect::new(x, y, w, h), MIN, None);
        prop_assert!(covers_exactly(&layout));
        prop_assert_eq!(layout.tiles.iter().filter(|t| t.key.is_some()).count() + layout.merged, weights.len());
    }

    #[test]
    fn tiles_keep_the_order_and_the_minimum_size(
        weights in prop::collection::vec(0.0_f64..1e6, 1..80), w in 1_u16..220, h in 1_u16..60,
    ) {
        let items = items(&weights);
        let layout = layout(&items, Rect::new(0, 0, w, h), MIN, None);
        let shown: Vec<_> = layout.tiles.iter().filter_map(|t| t.key).collect();
        let expected: Vec<_> = items.iter().map(|i| i.key).take(shown.len()).collect();
        prop_assert_eq!(shown, expected);
        let big_enough = layout.tiles.iter().all(|t| t.rect.width >= MIN.width && t.rect.height >= MIN.height);
        prop_assert!(big_enough || layout.tiles.len() == 1);
    }

    #[test]
    fn the_same_input_gives_the_same_layout(
        weights in prop::collection::vec(0.0_f64..1e6, 1..40), w in 1_u16..220, h in 1_u16..60,
    ) {
        let items = items(&weights);
        let area = Rect::new(0, 0, w, h);
        let first = layout(&items, area, MIN, None);
        prop_assert_eq!(&layout(&items, area, MIN, None), &first);
        prop_assert_eq!(&layout(&items, area, MIN, Some(&first)), &first);
    }

    #[test]
    fn small_changes_move_no_tile(
        base in prop::collection::vec(1e3_f64..1e6, 2..25), jitter in prop::collection::vec(-0.002_f64..0.002, 25),
    ) {
        let area = Rect::new(0, 0, 100, 40);
        let before = layout(&items(&base), area, MIN, None);
        let changed: Vec<f64> = base.iter().zip(&jitter).map(|(weight, by)| weight * (1.0 + by)).collect();
        let after = layout(&items(&changed), area, MIN, Some(&before));
        prop_assert!(covers_exactly(&after));
        prop_assert_eq!(keys(&before), keys(&after));
        for (old, new) in before.tiles.iter().zip(&after.tiles) {
            prop_assert!(old.rect.x.abs_diff(new.rect.x) <= 1 && old.rect.y.abs_diff(new.rect.y) <= 1, "{old:?} {new:?}");
        }
    }
}
