//! The deliveries of one message, by index. Most messages have one recipient, whose delivery then stands in the entry itself.

use std::ops::{Deref, DerefMut};

use super::entry::DeliveryEntry;

/// A row of deliveries, sorted by index. As large as one delivery: the standing's unused values tell the two apart.
pub(crate) enum Deliveries {
    /// The only one.
    One(DeliveryEntry),
    /// None, or several.
    Many(Vec<DeliveryEntry>),
}

impl Deliveries {
    /// Takes one out.
    pub(crate) fn remove(&mut self, nth: usize) -> Option<DeliveryEntry> {
        match std::mem::replace(self, Deliveries::Many(Vec::new())) {
            Deliveries::One(delivery) if nth == 0 => Some(delivery),
            Deliveries::Many(mut all) if nth < all.len() => {
                let removed = all.remove(nth);
                *self = Deliveries::Many(all);
                Some(removed)
            }
            same => {
                *self = same;
                None
            }
        }
    }
}

impl Deref for Deliveries {
    type Target = [DeliveryEntry];

    fn deref(&self) -> &[DeliveryEntry] {
        match self {
            Deliveries::One(delivery) => std::slice::from_ref(delivery),
            Deliveries::Many(all) => all,
        }
    }
}

impl DerefMut for Deliveries {
    fn deref_mut(&mut self) -> &mut [DeliveryEntry] {
        match self {
            Deliveries::One(delivery) => std::slice::from_mut(delivery),
            Deliveries::Many(all) => all,
        }
    }
}

impl<'a> IntoIterator for &'a Deliveries {
    type Item = &'a DeliveryEntry;
    type IntoIter = std::slice::Iter<'a, DeliveryEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<DeliveryEntry> for Deliveries {
    fn from_iter<T: IntoIterator<Item = DeliveryEntry>>(all: T) -> Self {
        let mut all = all.into_iter();
        let Some(first) = all.next() else { return Deliveries::Many(Vec::new()) };
        match all.next() {
            None => Deliveries::One(first),
            Some(second) => Deliveries::Many([first, second].into_iter().chain(all).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::fresh_delivery;

    fn row(indices: &[u32]) -> Deliveries {
        indices.iter().map(|index| fresh_delivery(*index, 0, Default::default())).collect()
    }

    fn indices(row: &Deliveries) -> Vec<u32> {
        row.iter().map(|delivery| delivery.index).collect()
    }

    #[test]
    fn it_reads_as_what_was_collected_whatever_is_taken_out() {
        for all in [&[][..], &[7], &[1, 4], &[0, 1, 2, 9]] {
            assert_eq!(indices(&row(all)), all);
            for nth in 0..all.len() {
                let (mut taken, mut left) = (row(all), all.to_vec());
                assert_eq!(taken.remove(nth).map(|delivery| delivery.index), Some(left.remove(nth)));
                assert_eq!(indices(&taken), left);
            }
            let mut whole = row(all);
            assert!(whole.remove(all.len()).is_none());
            assert_eq!(indices(&whole), all);
        }
    }
}
