//! Where the frames of a tree of calls are: pure geometry in eighths of a column. A frame is exactly as wide as its share, from the
//! place where its share begins, so rounding does not add up from line to line.

use crate::analysis::flame::Flame;

/// Parts of a column that can be drawn.
pub const PARTS: u32 = 8;

/// A frame with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slab {
    /// Node of the tree.
    pub node: usize,
    /// The slab that it is part of.
    pub parent: Option<usize>,
    /// Distance from the root.
    pub level: usize,
    /// Where it begins, in eighths of a column.
    pub start: u32,
    /// How wide it is, in eighths of a column; at least one.
    pub width: u32,
    /// How much of that is CPU time.
    pub cpu: u32,
}

/// Places a node and all on top of it in so many columns: each within the one that called it, by name, side by side. What the
/// caller did itself is at its right end. Frames narrower than an eighth of a column are left out, with what they call.
pub(crate) fn layout(flame: &Flame, root: usize, columns: u16) -> Vec<Slab> {
    let whole = flame.nodes.get(root).map_or(0, |node| node.weight);
    if whole == 0 || columns == 0 {
        return Vec::new();
    }
    let all = u128::from(columns) * u128::from(PARTS);
    let place = |weight: u64| (u128::from(weight) * all / u128::from(whole)) as u32;
    let mut slabs = Vec::new();
    // Nodes with what is left of them, the next one last.
    let mut open = vec![(root, None, 0_u64)];
    let base = flame.nodes[root].depth;
    while let Some((number, parent, before)) = open.pop() {
        let node = &flame.nodes[number];
        let start = place(before);
        let width = place(before + node.weight) - start;
        if width == 0 {
            continue;
        }
        let cpu = match node.now {
            0 => 0,
            now => (u128::from(width) * u128::from(node.cpu) / u128::from(now)) as u32,
        };
        let slab = slabs.len();
        slabs.push(Slab { node: number, parent, level: node.depth - base, start, width, cpu });
        let mut at = before;
        let children = node.children.iter().map(|&child| {
            let from = at;
            at += flame.nodes[child].weight;
            (child, Some(slab), from)
        });
        let children: Vec<_> = children.collect();
        open.extend(children.into_iter().rev());
    }
    slabs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::flame::Node;

    /// A tree from the parent of each node and what it did itself.
    fn tree(nodes: &[(usize, u64)]) -> Flame {
        let mut flame = Flame::default();
        for (number, &(parent, own)) in nodes.iter().enumerate() {
            let parent = parent % number.max(1);
            let depth = if number == 0 { 0 } else { flame.nodes[parent].depth + 1 };
            flame.nodes.push(Node { parent, depth, weight: own, now: own, cpu: own / 2, ..Node::default() });
        }
        for number in (1..nodes.len()).rev() {
            let Node { parent, weight, now, cpu, .. } = flame.nodes[number];
            let node = &mut flame.nodes[parent];
            (node.weight, node.now, node.cpu) = (node.weight + weight, node.now + now, node.cpu + cpu);
            node.children.push(number);
        }
        flame
    }

    #[test]
    fn a_frame_is_as_wide_as_its_share_to_an_eighth_of_a_column() {
        let flame = tree(&[(0, 20), (0, 30), (0, 50)]);
        let places: Vec<_> = layout(&flame, 0, 10).iter().map(|s| (s.node, s.level, s.start, s.width, s.cpu)).collect();
        assert_eq!(places, [(0, 0, 0, 80, 40), (2, 1, 0, 40, 20), (1, 1, 40, 24, 12)]);
    }

    #[test]
    fn a_node_that_is_zoomed_into_has_all_the_width() {
        let flame = tree(&[(0, 20), (0, 30), (1, 50)]);
        let slabs = layout(&flame, 1, 10);
        assert_eq!((slabs[0].node, slabs[0].level, slabs[0].start, slabs[0].width), (1, 0, 0, 80));
        assert_eq!((slabs[1].node, slabs[1].level, slabs[1].parent, slabs[1].width), (2, 1, Some(0), 50));
    }

    #[test]
    fn there_is_no_place_for_nothing() {
        assert_eq!(layout(&tree(&[(0, 0)]), 0, 80), []);
        assert_eq!(layout(&tree(&[(0, 5)]), 0, 0), []);
        assert_eq!(layout(&Flame::default(), 0, 80), []);
    }

    proptest! {
        #[test]
        fn frames_are_within_their_callers_side_by_side_and_true_to_their_share(
            nodes in prop::collection::vec((0_usize..50, 0_u64..1_000_000_000_000), 1..60),
            columns in 1_u16..400,
        ) {
            let flame = tree(&nodes);
            let slabs = layout(&flame, 0, columns);
            let whole = flame.nodes[0].weight.max(1) as f64;
            for (index, slab) in slabs.iter().enumerate() {
                let share = flame.nodes[slab.node].weight as f64 / whole * f64::from(columns) * 8.0;
                prop_assert!((f64::from(slab.width) - share).abs() < 1.001, "{} for {}", slab.width, share);
                prop_assert!(slab.width > 0 && slab.cpu <= slab.width);
                if let Some(parent) = slab.parent {
                    prop_assert!(parent < index, "a caller comes first");
                    let caller = slabs[parent];
                    prop_assert_eq!(caller.level + 1, slab.level);
                    prop_assert!(caller.start <= slab.start && slab.start + slab.width <= caller.start + caller.width);
                }
                for other in slabs[index + 1..].iter().filter(|other| other.level == slab.level) {
                    prop_assert!(slab.start + slab.width <= other.start, "they are from left to right");
                }
            }
        }
    }
}
