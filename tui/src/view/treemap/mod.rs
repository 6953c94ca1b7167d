//! The squarified treemap as pure geometry: weights in, tiles out, in character cells about twice as high as wide.
//! It owns the layout, its steadiness between refreshes and the neighbour of a tile; labels and colours belong to `ui`.
//!
//! ```text
//!  area 20x6                  a strip takes one side of what is left,
//! ┌─────────┬────────┐        the tiles of a strip share its length
//! │ 0       │ 1      │
//! │         ├────┬───┤        strip [0], then strip [1], then strip [2, 3]
//! │         │ 2  │ 3 │
//! └─────────┴────┴───┘
//! ```
//! The algorithm is that of Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).

use std::hash::Hash;

use ratatui::layout::{Position, Rect};

/// A cell is this many times as high as it is wide.
const CELL_RATIO: f64 = 2.0;
/// A kept layout may have a mean aspect ratio this much worse than a fresh one.
const WORSE_ASPECT: f64 = 1.6;
/// A kept layout may have this much more of its area in wrong tiles than a fresh one.
const MISPLACED: f64 = 0.05;
/// Fewer tiles are shown rather than more than this of the area being in wrong tiles, which minimum sizes may do to a small map.
const TOO_WRONG: f64 = 0.15;
/// A layout stays as it is while no tile's share of the whole changed by more than this, relative to the share.
const NOTICEABLE: f64 = 0.05;
/// Neighbours in a kept layout may be out of order by this much before they change places.
const OUT_OF_ORDER: f64 = 1.2;
/// A tile that would get less than this share of the smallest tile's area is merged; one between is drawn at the smallest size.
const LEAST_SHARE: f64 = 0.6;
/// An edge stays where it was while its ideal place is nearer than this, in cells.
const STICKY_EDGE: f64 = 0.8;

/// Smallest tile, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinTile {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// One thing to lay out.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<K> {
    /// What it is; a tile is found again by it.
    pub key: K,
    /// Its size; negative or not finite counts as 0.
    pub weight: f64,
}

/// One tile of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile<K> {
    /// The item; `None` is the tile of the merged rest.
    pub key: Option<K>,
    /// Its place. Tiles cover the area exactly and never overlap.
    pub rect: Rect,
}

/// Where every tile is. Keep it and hand it to the next [`layout`], so that tiles keep their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout<K> {
    /// What the tiles cover.
    pub area: Rect,
    /// Tiles in the order of the items; the merged rest is last.
    pub tiles: Vec<Tile<K>>,
    /// How many items the tile of the rest stands for; 0 when there is none.
    pub merged: usize,
    strips: Vec<Strip>,
    /// Weights of the tiles, as shares of their sum, when the strips were made.
    shares: Vec<f64>,
}

/// The next `tiles` tiles: stacked along the left edge of what is left, or side by side along its top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Strip {
    tiles: usize,
    left: bool,
}

/// A way in which the selection moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards column 0.
    Left,
    /// Away from column 0.
    Right,
    /// Towards row 0.
    Up,
    /// Away from row 0.
    Down,
}

/// Lays `items` (biggest first) out over `area`. Items that would be smaller than `min` are merged into one tile, the last.
/// A tile smaller than `min` appears only when it is alone. With `previous`, tiles keep their places and edges unless the sizes
/// really changed.
pub fn layout<K: Clone + Eq + Hash>(
    items: &[Item<K>],
    area: Rect,
    min: MinTile,
    previous: Option<&Layout<K>>,
) -> Layout<K> {
    if items.is_empty() || area.is_empty() {
        return Layout { area, tiles: Vec::new(), merged: 0, strips: Vec::new(), shares: Vec::new() };
    }
    let kept = previous.filter(|p| p.area == area).and_then(|p| keep(items, area, min, p));
    let Some((layout, noticeable)) = kept else { return squarified(items, area, min) };
    if !noticeable {
        return layout;
    }
    let fresh = squarified(items, area, min);
    let better = fresh.tiles.len() > layout.tiles.len()
        || aspect(&layout.tiles) > aspect(&fresh.tiles) * WORSE_ASPECT
        || misplaced(&layout, items) > misplaced(&fresh, items) + MISPLACED;
    if better { fresh } else { layout }
}

/// The tile next to `from` in `direction`: the one that shares the most of that edge, the first of them if equal.
/// `None` at the border of the map.
pub(crate) fn neighbour<K>(tiles: &[Tile<K>], from: usize, direction: Direction) -> Option<usize> {
    let rect = tiles.get(from)?.rect;
    let touches = |other: Rect| match direction {
        Direction::Left => other.right() == rect.left(),
        Direction::Right => other.left() == rect.right(),
        Direction::Up => other.bottom() == rect.top(),
        Direction::Down => other.top() == rect.bottom(),
    };
    let shared = |other: Rect| match direction {
        Direction::Left | Direction::Right => {
            other.bottom().min(rect.bottom()).saturating_sub(other.top().max(rect.top()))
        }
        Direction::Up | Direction::Down => {
            other.right().min(rect.right()).saturating_sub(other.left().max(rect.left()))
        }
    };
    let mut best = None;
    for (index, tile) in tiles.iter().enumerate() {
        let overlap = shared(tile.rect);
        if touches(tile.rect) && overlap > 0 && best.is_none_or(|(_, most)| overlap > most) {
            best = Some((index, overlap));
        }
    }
    best.map(|(index, _)| index)
}

/// The tile at a position.
pub(crate) fn tile_at<K>(tiles: &[Tile<K>], position: Position) -> Option<usize> {
    tiles.iter().position(|tile| tile.rect.contains(position))
}

fn weight<K>(item: &Item<K>) -> f64 {
    if item.weight.is_finite() { item.weight.max(0.0) } else { 0.0 }
}

/// The previous structure with the new weights, if the same items are shown and their order still holds about. And whether
/// any tile's share changed noticeably since the structure was made.
fn keep<K: Clone + Eq + Hash>(
    items: &[Item<K>],
    area: Rect,
    min: MinTile,
    previous: &Layout<K>,
) -> Option<(Layout<K>, bool)> {
    let by_key: std::collections::HashMap<&K, f64> = items.iter().map(|item| (&item.key, weight(item))).collect();
    let mut weights = Vec::with_capacity(previous.tiles.len());
    for tile in &previous.tiles {
        if let Some(key) = &tile.key {
            weights.push(*by_key.get(key)?);
        }
    }
    let shown = weights.len();
    let in_order = weights.windows(2).all(|pair| pair[1] <= pair[0] * OUT_OF_ORDER);
    let total: f64 = by_key.values().sum();
    let rest = (total - weights.iter().sum::<f64>()).max(0.0);
    let merged = by_key.len() - shown;
    if !in_order || (merged > 0) != (previous.merged > 0) {
        return None;
    }
    let smallest_shown = weights.last().copied().unwrap_or(0.0);
    let keys: std::collections::HashSet<&K> = previous.tiles.iter().filter_map(|tile| tile.key.as_ref()).collect();
    let outgrown = items.iter().any(|i| !keys.contains(&i.key) && weight(i) > smallest_shown * OUT_OF_ORDER);
    if outgrown {
        return None;
    }
    if merged > 0 {
        weights.push(rest.max(least_weight(total, area, min)));
    }
    let edges: Vec<Rect> = previous.tiles.iter().map(|tile| tile.rect).collect();
    let noticeable = shares(&weights)
        .zip(&previous.shares)
        .any(|(now, then)| (now - then).abs() > then.max(f64::MIN_POSITIVE) * NOTICEABLE);
    // A tile of the smallest size may fall below it by rounding alone; that is no reason to lay everything out again.
    let rects = place(&weights, &previous.strips, area, min, Some(&edges)).or((!noticeable).then_some(edges))?;
    let tiles: Vec<Tile<K>> =
        previous.tiles.iter().zip(rects).map(|(tile, rect)| Tile { key: tile.key.clone(), rect }).collect();
    let (strips, shares) = (previous.strips.clone(), previous.shares.clone());
    Some((Layout { area, tiles, merged, strips, shares }, noticeable))
}

/// The layout that shows as many items as keep the minimum size, and not much less than the area that is theirs.
fn squarified<K: Clone + Eq + Hash>(items: &[Item<K>], area: Rect, min: MinTile) -> Layout<K> {
    let cells = f64::from(area.width) * f64::from(area.height);
    let smallest = f64::from(min.width.max(1)) * f64::from(min.height.max(1));
    let most = ((cells / smallest) as usize).clamp(1, items.len());
    let total: f64 = items.iter().map(weight).sum();
    let mut best: Option<(f64, Layout<K>)> = None;
    for shown in (1..=most).rev() {
        let merged = items.len() - shown;
        if shown > 1 && weight(&items[shown - 1]) * cells < total * smallest * LEAST_SHARE {
            continue;
        }
        let mut weights: Vec<f64> = items[..shown].iter().map(weight).collect();
        if merged > 0 {
            weights.push(items[shown..].iter().map(weight).sum::<f64>().max(least_weight(total, area, min)));
        }
        let strips = strips(&weights, area);
        let Some(rects) = place(&weights, &strips, area, min, None) else { continue };
        let keys = items[..shown].iter().map(|item| Some(item.key.clone())).chain((merged > 0).then_some(None));
        let tiles = keys.zip(rects).map(|(key, rect)| Tile { key, rect }).collect();
        let shares = shares(&weights).collect();
        let layout = Layout { area, tiles, merged, strips, shares };
        let wrong = misplaced(&layout, items);
        if best.as_ref().is_none_or(|(least, _)| wrong < *least) {
            best = Some((wrong, layout));
        }
        if wrong <= TOO_WRONG {
            break;
        }
    }
    if let Some((_, layout)) = best {
        return layout;
    }
    let only = (items.len() == 1).then(|| items[0].key.clone());
    let merged = if only.is_some() { 0 } else { items.len() };
    let strips = vec![Strip { tiles: 1, left: true }];
    Layout { area, tiles: vec![Tile { key: only, rect: area }], merged, strips, shares: vec![1.0] }
}

fn shares(weights: &[f64]) -> impl Iterator<Item = f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(move |weight| if total > 0.0 { weight / total } else { 0.0 })
}

/// What a tile must weigh to get about the area of the smallest tile.
fn least_weight(total: f64, area: Rect, min: MinTile) -> f64 {
    let cells = f64::from(area.width) * f64::from(area.height);
    let smallest = f64::from(min.width) * f64::from(min.height);
    let share = (smallest * 1.3 / cells.max(1.0)).min(0.4);
    if total > 0.0 { total * share / (1.0 - share) } else { 1.0 }
}

/// Groups weights into strips: a strip grows while its worst aspect ratio gets better.
fn strips(weights: &[f64], area: Rect) -> Vec<Strip> {
    let (mut width, mut height) = (f64::from(area.width), f64::from(area.height) * CELL_RATIO);
    let total: f64 = weights.iter().sum();
    let scale = if total > 0.0 { width * height / total } else { 0.0 };
    let mut strips = Vec::new();
    let mut next = 0;
    while next < weights.len() {
        let left = width >= height;
        let side = if left { height } else { width };
        let mut tiles = 1;
        while next + tiles < weights.len() {
            let now = worst_aspect(&weights[next..next + tiles], scale, side);
            if worst_aspect(&weights[next..=next + tiles], scale, side) > now {
                break;
            }
            tiles += 1;
        }
        strips.push(Strip { tiles, left });
        let depth = weights[next..next + tiles].iter().sum::<f64>() * scale / side.max(f64::MIN_POSITIVE);
        if left {
            width = (width - depth).max(0.0);
        } else {
            height = (height - depth).max(0.0);
        }
        next += tiles;
    }
    strips
}

/// The worst ratio of the sides of tiles that share a strip along `side`, formula of the paper, section 3.1.
fn worst_aspect(weights: &[f64], scale: f64, side: f64) -> f64 {
    let sum = weights.iter().sum::<f64>() * scale;
    let biggest = weights.iter().copied().fold(0.0, f64::max) * scale;
    let smallest = weights.iter().copied().fold(f64::INFINITY, f64::min) * scale;
    if smallest <= 0.0 || sum <= 0.0 {
        return f64::INFINITY;
    }
    let side2 = side * side;
    (side2 * biggest / (sum * sum)).max(sum * sum / (side2 * smallest))
}

/// Rounds strips to cells. `None` when a tile would be smaller than `min` (a single tile may be).
fn place(weights: &[f64], strips: &[Strip], area: Rect, min: MinTile, edges: Option<&[Rect]>) -> Option<Vec<Rect>> {
    let mut rects = Vec::with_capacity(weights.len());
    let mut left_over = area;
    let mut rest: f64 = weights.iter().sum();
    for (index, strip) in strips.iter().enumerate() {
        let first = rects.len();
        let members = weights.get(first..first + strip.tiles)?;
        let sum: f64 = members.iter().sum();
        let full = if strip.left { left_over.width } else { left_over.height };
        let old = edges.and_then(|edges| edges.get(first)).map(|r| if strip.left { r.width } else { r.height });
        let least = if strip.left { min.width } else { min.height };
        // What follows along the same side needs its least too, and what is beside that at last needs it once.
        let following = &strips[index + 1..];
        let same = following.iter().filter(|next| next.left == strip.left).count();
        let beside = following.last().is_some_and(|last| last.left != strip.left);
        let after = same as u16 + u16::from(beside);
        let depth = share(full, sum, rest, old, (least, after));
        let band = if strip.left { Rect { width: depth, ..left_over } } else { Rect { height: depth, ..left_over } };
        split(members, band, (strip.left, min), edges.and_then(|edges| edges.get(first..)), &mut rects);
        left_over = if strip.left {
            Rect { x: left_over.x + depth, width: full - depth, ..left_over }
        } else {
            Rect { y: left_over.y + depth, height: full - depth, ..left_over }
        };
        rest -= sum;
    }
    let alone = rects.len() == 1;
    let fits = rects.iter().all(|rect| rect.width >= min.width && rect.height >= min.height && !rect.is_empty());
    (alone || fits).then_some(rects)
}

/// Shares a band among its tiles: downwards in a left strip, to the right in a top strip.
fn split(members: &[f64], band: Rect, (down, min): (bool, MinTile), edges: Option<&[Rect]>, rects: &mut Vec<Rect>) {
    let mut left_over = band;
    let mut rest: f64 = members.iter().sum();
    for (index, &member) in members.iter().enumerate() {
        let full = if down { left_over.height } else { left_over.width };
        let old = edges.and_then(|edges| edges.get(index)).map(|r| if down { r.height } else { r.width });
        let least = if down { min.height } else { min.width };
        let length = share(full, member, rest, old, (least, (members.len() - index - 1) as u16));
        if down {
            rects.push(Rect { height: length, ..left_over });
            left_over = Rect { y: left_over.y + length, height: full - length, ..left_over };
        } else {
            rects.push(Rect { width: length, ..left_over });
            left_over = Rect { x: left_over.x + length, width: full - length, ..left_over };
        }
        rest -= member;
    }
}

/// The cells of `full` for `part` of `whole`: where it was if that is near enough, and so that it and the `after` that follow
/// get `least` each, if there is room.
fn share(full: u16, part: f64, whole: f64, old: Option<u16>, (least, after): (u16, u16)) -> u16 {
    if after == 0 {
        return full;
    }
    let ideal = if whole > 0.0 { f64::from(full) * (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    let cells = match old {
        Some(old) if (f64::from(old) - ideal).abs() < STICKY_EDGE => old,
        _ => ideal.round() as u16,
    };
    cells.max(least).min(full.saturating_sub(least.saturating_mul(after)))
}

/// Mean ratio of the longer to the shorter side, in the shape the eye sees.
fn aspect<K>(tiles: &[Tile<K>]) -> f64 {
    let ratio = |rect: Rect| {
        let (w, h) = (f64::from(rect.width.max(1)), f64::from(rect.height.max(1)) * CELL_RATIO);
        (w / h).max(h / w)
    };
    tiles.iter().map(|tile| ratio(tile.rect)).sum::<f64>() / tiles.len().max(1) as f64
}

/// The share of the area that is in wrong tiles: half the sum of the differences between a tile's share of the area and its
/// share of the weight.
fn misplaced<K: Eq + Hash>(layout: &Layout<K>, items: &[Item<K>]) -> f64 {
    let weights: std::collections::HashMap<&K, f64> = items.iter().map(|item| (&item.key, weight(item))).collect();
    let total: f64 = weights.values().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let of = |tile: &Tile<K>| tile.key.as_ref().and_then(|key| weights.get(key)).copied();
    let rest = total - layout.tiles.iter().filter_map(of).sum::<f64>();
    let cells = f64::from(layout.area.width) * f64::from(layout.area.height);
    let share = |rect: Rect| f64::from(rect.width) * f64::from(rect.height) / cells;
    layout.tiles.iter().map(|tile| (share(tile.rect) - of(tile).unwrap_or(rest) / total).abs()).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests;
