//! Where the sections of a file lie, as far as their lengths are known: from its beginning, and from its end, for its
//! size is known before any of them.
//!
//! Invariant: the lengths of all sections are together the size. The first length with which they cannot be is an error.

/// What is known of where the sections of a file lie.
#[derive(Clone, Debug)]
pub(super) struct Extents {
    lengths: Vec<Option<u64>>,
    /// Of sections up to `front`, and of those from `back` on; behind the last, the size.
    starts: Vec<u64>,
    /// The lengths of all sections before are known.
    front: usize,
    /// The lengths of this section and all that follow are known. The two are equal when all are.
    back: usize,
}

/// Where a byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this section.
    In(usize),
    /// In one of those from `first` to before `end`, so many bytes behind the beginning of the first, and so many before
    /// the end of the last.
    Among { first: usize, end: usize, behind: u64, before: u64 },
}

/// A length with which the sections do not make the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit;

impl Extents {
    /// Sections of a file of so many bytes: at least one.
    pub(super) fn new(size: u64, sections: usize) -> Extents {
        assert!(sections > 0, "a file has a section");
        let mut starts = vec![0; sections + 1];
        starts[sections] = size;
        Extents { lengths: vec![None; sections], starts, front: 0, back: sections }
    }

    /// How long a section is, if that is known.
    pub(super) fn length(&self, section: usize) -> Option<u64> {
        self.lengths[section]
    }

    /// Of how many sections it is known how long they are.
    pub(super) fn known(&self) -> usize {
        self.lengths.iter().flatten().count()
    }

    /// Takes note of a section's length.
    pub(super) fn set(&mut self, section: usize, length: u64) -> Result<(), Misfit> {
        if let Some(known) = self.lengths[section] {
            return if known == length { Ok(()) } else { Err(Misfit) };
        }
        self.lengths[section] = Some(length);
        while self.front < self.back
            && let Some(length) = self.lengths[self.front]
        {
            let end = self.starts[self.front].checked_add(length).ok_or(Misfit)?;
            let is_last = self.front + 1 == self.back;
            if end > self.starts[self.back] || (is_last && end < self.starts[self.back]) {
                return Err(Misfit);
            }
            self.front += 1;
            self.starts[self.front] = end;
        }
        while self.front < self.back
            && let Some(length) = self.lengths[self.back - 1]
        {
            // The first that is not known is before it: there is one, or the loop above had ended with all known.
            let start = self.starts[self.back].checked_sub(length).ok_or(Misfit)?;
            if start < self.starts[self.front] {
                return Err(Misfit);
            }
            self.back -= 1;
            self.starts[self.back] = start;
        }
        if self.front + 1 == self.back {
            self.lengths[self.front] = Some(self.starts[self.back] - self.starts[self.front]);
            self.front += 1;
        }
        Ok(())
    }

    /// Where a byte of the file lies.
    pub(super) fn find(&self, offset: u64) -> Place {
        let last_from = |first: usize, end: usize| {
            first + self.starts[first..end].partition_point(|start| *start <= offset).saturating_sub(1)
        };
        let sections = self.lengths.len();
        if offset >= self.starts[self.back] {
            Place::In(last_from(self.back, sections))
        } else if offset < self.starts[self.front] {
            Place::In(last_from(0, self.front))
        } else if self.front + 1 == self.back {
            Place::In(self.front)
        } else {
            let behind = offset - self.starts[self.front];
            let before = self.starts[self.back] - offset;
            Place::Among { first: self.front, end: self.back, behind, before }
        }
    }

    /// Where a section begins and ends, if both are known.
    pub(super) fn range(&self, section: usize) -> Option<(u64, u64)> {
        let is_known = section < self.front || section >= self.back || self.front + 1 == self.back;
        is_known.then(|| (self.starts[section], self.starts[section + 1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_are_placed_from_both_ends_and_the_last_one_between_them() {
        let mut extents = Extents::new(100, 4);
        assert_eq!(extents.find(50), Place::Among { first: 0, end: 4, behind: 50, before: 50 });
        assert_eq!(extents.range(0), None);
        extents.set(0, 30).unwrap();
        assert_eq!((extents.find(29), extents.range(0)), (Place::In(0), Some((0, 30))));
        extents.set(3, 20).unwrap();
        assert_eq!((extents.find(80), extents.range(3)), (Place::In(3), Some((80, 100))));
        assert_eq!(extents.find(79), Place::Among { first: 1, end: 3, behind: 49, before: 1 });
        extents.set(2, 50).unwrap();
        assert_eq!((extents.find(30), extents.range(1)), (Place::In(2), Some((30, 30))));
        extents.set(1, 0).unwrap();
        assert_eq!((extents.known(), extents.find(30)), (4, Place::In(2)));
    }

    #[test]
    fn lengths_that_do_not_make_the_size_are_refused() {
        let set = |lengths: &[(usize, u64)]| {
            let mut extents = Extents::new(100, 3);
            lengths.iter().try_for_each(|(section, length)| extents.set(*section, *length))
        };
        assert_eq!(set(&[(0, 101)]), Err(Misfit));
        assert_eq!(set(&[(2, 101)]), Err(Misfit));
        assert_eq!(set(&[(1, u64::MAX), (0, 1)]), Err(Misfit));
        assert_eq!(set(&[(0, 60), (2, 41)]), Err(Misfit));
        assert_eq!(set(&[(0, 60), (2, 39), (1, 2)]), Err(Misfit));
        assert_eq!(set(&[(0, 60), (0, 61)]), Err(Misfit));
        assert_eq!(set(&[(1, 10), (0, 60), (2, 30)]), Ok(()));
        assert_eq!(set(&[(1, 10), (0, 60), (2, 29)]), Err(Misfit));
    }

    proptest! {
        #[test]
        fn every_byte_is_found_in_its_section_as_soon_as_that_can_be_known(
            lengths in proptest::collection::vec(0u64..9, 1..12),
            order in proptest::collection::vec(0usize..12, 0..16),
        ) {
            let size: u64 = lengths.iter().sum();
            let mut extents = Extents::new(size, lengths.len());
            let starts: Vec<u64> =
                (0..=lengths.len()).map(|end| lengths[..end].iter().sum()).collect();
            for section in order.into_iter().filter(|section| *section < lengths.len()).chain(0..lengths.len()) {
                extents.set(section, lengths[section]).unwrap();
                let is_known = |section: usize| extents.length(section).is_some();
                for offset in 0..size {
                    match extents.find(offset) {
                        Place::In(section) => {
                            prop_assert!(starts[section] <= offset && offset < starts[section + 1]);
                            prop_assert_eq!(extents.range(section), Some((starts[section], starts[section + 1])));
                        }
                        Place::Among { first, end, behind, before } => {
                            prop_assert!(!is_known(first) && !is_known(end - 1) && first + 1 < end);
                            prop_assert_eq!((starts[first] + behind, starts[end] - before), (offset, offset));
                        }
                    }
                }
            }
            prop_assert!((0..size).all(|offset| matches!(extents.find(offset), Place::In(_))));
        }
    }
}
