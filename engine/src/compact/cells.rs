//! Cells: parting row versions by their lives, so that a version crosses few of them.
//!
//! A row version is a point (begin, end); a version v reads those with begin <= v < end, and decodes
//! every cell whose lowest begin is at or below v and whose highest end is above it. The partition is a
//! k-d tree: a set of points is halved by begin or by end, whichever leaves less to decode over all
//! versions (in proportion to what each shows), until a cell is small beside what its versions show, or all its rows have one life.
//! Knows nothing of files: the tree is a function from a life to the number of its cell.

/// The life of a row version: from `begin` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    /// The version that made it.
    pub begin: u64,
    /// The version that ended it.
    pub end: u64,
}

/// What versions ask of cells.
pub trait Measure {
    /// How many rows a cell may have that versions from `from` to before `to` read.
    fn rows_max(&self, from: u64, to: u64) -> u64;
    /// What reading a row costs the versions from `from` to before `to`, all together.
    fn cost(&self, from: u64, to: u64) -> f64;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    /// Lives below `at` (of the end if `by_end`, of the begin if not) are in the first child, others in the second.
    Split {
        by_end: bool,
        at: u64,
        children: [u32; 2],
    },
    Cell(u32),
}

/// A partition of lives into cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    nodes: Vec<Node>,
    /// Points that fell into each.
    counts: Vec<u64>,
}

impl Cells {
    /// Parts `points`, each of which stands for `weight` rows (more than one where they are a sample).
    pub fn partition(points: &mut [Lifetime], weight: u64, measure: &dyn Measure) -> Cells {
        let mut cells = Cells { nodes: Vec::new(), counts: Vec::new() };
        cells.part(points, weight, measure);
        cells
    }

    fn part(&mut self, points: &mut [Lifetime], weight: u64, measure: &dyn Measure) -> u32 {
        let index = self.nodes.len() as u32;
        let extent = Extent::of(points);
        let rows = points.len() as u64 * weight;
        let split = match points.is_empty() || rows <= measure.rows_max(extent.begins.0, extent.ends.1) {
            true => None,
            false => extent.best_split(points, measure),
        };
        let Some((by_end, at)) = split else {
            self.nodes.push(Node::Cell(self.counts.len() as u32));
            self.counts.push(rows);
            return index;
        };
        self.nodes.push(Node::Split { by_end, at, children: [0; 2] });
        let below = part_in_place(points, |life| value(life, by_end) < at);
        let (first, second) = points.split_at_mut(below);
        let children = [self.part(first, weight, measure), self.part(second, weight, measure)];
        self.nodes[index as usize] = Node::Split { by_end, at, children };
        index
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.counts.len()
    }

    /// About how many rows a cell has.
    pub fn rows(&self, cell: usize) -> u64 {
        self.counts[cell]
    }

    /// The cell of a life, whether it was among the points or not.
    pub fn cell_of(&self, life: Lifetime) -> usize {
        let mut node = 0;
        loop {
            match self.nodes[node] {
                Node::Cell(cell) => return cell as usize,
                Node::Split { by_end, at, children } => {
                    node = children[usize::from(value(&life, by_end) >= at)] as usize;
                }
            }
        }
    }
}

fn value(life: &Lifetime, by_end: bool) -> u64 {
    if by_end { life.end } else { life.begin }
}

/// Brings the points that `first` chooses to the front; gives their number.
fn part_in_place(points: &mut [Lifetime], first: impl Fn(&Lifetime) -> bool) -> usize {
    let mut count = 0;
    for index in 0..points.len() {
        if first(&points[index]) {
            points.swap(count, index);
            count += 1;
        }
    }
    count
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    begins: (u64, u64),
    ends: (u64, u64),
}

impl Extent {
    fn of(points: &[Lifetime]) -> Extent {
        let mut extent = Extent { begins: (u64::MAX, 0), ends: (u64::MAX, 0) };
        for life in points {
            extent.begins = (extent.begins.0.min(life.begin), extent.begins.1.max(life.begin));
            extent.ends = (extent.ends.0.min(life.end), extent.ends.1.max(life.end));
        }
        extent
    }

    /// The dimension and value that leave least to decode; none where all lives are one.
    fn best_split(&self, points: &mut [Lifetime], measure: &dyn Measure) -> Option<(bool, u64)> {
        let mut best: Option<(f64, bool, u64)> = None;
        for by_end in [false, true] {
            let (low, high) = if by_end { self.ends } else { self.begins };
            if low == high {
                continue;
            }
            let middle = points.len() / 2;
            let (_, median, _) = points.select_nth_unstable_by_key(middle, |life| value(life, by_end));
            // Many may be equal to the median: both sides get some in any case.
            let at = value(median, by_end).max(low + 1);
            let mut sides = [(0u64, u64::MAX, 0u64); 2];
            for life in points.iter() {
                let side = &mut sides[usize::from(value(life, by_end) >= at)];
                *side = (side.0 + 1, side.1.min(life.begin), side.2.max(life.end));
            }
            let cost = sides.iter().map(|(rows, from, to)| *rows as f64 * measure.cost(*from, *to)).sum();
            if best.is_none_or(|(least, ..)| cost < least) {
                best = Some((cost, by_end, at));
            }
        }
        best.map(|(_, by_end, at)| (by_end, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Cells of so many rows; every version counts the same.
    struct Plain(u64);

    impl Measure for Plain {
        fn rows_max(&self, _: u64, _: u64) -> u64 {
            self.0
        }

        fn cost(&self, from: u64, to: u64) -> f64 {
            (to - from) as f64
        }
    }

    fn decoded(points: &[Lifetime], cells: &Cells, version: u64) -> usize {
        let mut extents = vec![(u64::MAX, 0, 0); cells.count()];
        for life in points {
            let extent = &mut extents[cells.cell_of(*life)];
            *extent = (extent.0.min(life.begin), extent.1.max(life.end), extent.2 + 1);
        }
        extents
            .iter()
            .filter(|(from, to, _)| *from <= version && version < *to)
            .map(|(_, _, rows)| rows)
            .sum()
    }

    #[test]
    fn rows_of_one_life_are_one_cell_however_many() {
        let mut points = vec![Lifetime { begin: 3, end: 9 }; 1000];
        let cells = Cells::partition(&mut points, 1, &Plain(10));
        assert_eq!((cells.count(), cells.rows(0)), (1, 1000));
    }

    #[test]
    fn a_version_of_a_churned_table_decodes_little_more_than_it_shows() {
        // 1000 rows, each replaced every 1000 versions on average.
        let mut state = 7u64;
        let mut chance = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut born = vec![0; 1000];
        let mut points = Vec::new();
        for version in 1..=20_000 {
            let row = chance(1000) as usize;
            points.push(Lifetime { begin: born[row], end: version });
            born[row] = version;
        }
        let cells = Cells::partition(&mut points, 1, &Plain(20));
        assert!(cells.count() > 900 && cells.count() < 2100, "{}", cells.count());
        for version in (2_000..18_000).step_by(500) {
            let visible = points.iter().filter(|life| life.begin <= version && version < life.end).count();
            let decoded = decoded(&points, &cells, version);
            assert!(decoded * 2 < visible * 3, "{decoded} rows decoded for {visible} at {version}");
        }
    }

    proptest! {
        #[test]
        fn every_life_has_a_cell_and_cells_are_small_or_of_one_life(
            lives in prop::collection::vec((0u64..40, 1u64..40), 0..300), rows_max in 1u64..20,
        ) {
            let mut points: Vec<Lifetime> =
                lives.iter().map(|(begin, length)| Lifetime { begin: *begin, end: begin + length }).collect();
            let cells = Cells::partition(&mut points, 1, &Plain(rows_max));
            let mut members = vec![Vec::new(); cells.count()];
            points.iter().for_each(|life| members[cells.cell_of(*life)].push(*life));
            for (cell, members) in members.iter().enumerate() {
                prop_assert_eq!(members.len() as u64, cells.rows(cell));
                let one = members.windows(2).all(|pair| pair[0] == pair[1]);
                prop_assert!(members.len() as u64 <= rows_max || one);
            }
        }
    }
}
