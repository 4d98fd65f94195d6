//! Cells with positions that stay, and orders of them that are left at no cost.

/// No position.
pub(super) const NONE: u32 = u32::MAX;

/// Values by position. A position is reused after its value was removed.
pub(super) struct Slab<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
}

struct Cell<T> {
    value: Option<T>,
    previous: u32,
    next: u32,
}

/// A first-in first-out order of some positions of a slab; a position is in one order at most.
pub(super) struct Order {
    first: u32,
    last: u32,
    len: usize,
}

impl Default for Order {
    fn default() -> Self {
        Order { first: NONE, last: NONE, len: 0 }
    }
}

impl Order {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The position that was appended first.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { cells: Vec::new(), free: Vec::new() }
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl<T> Slab<T> {
    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.cells.len().saturating_sub(self.free.len())
    }

    /// How many cells were ever needed at once.
    #[cfg(test)]
    pub(super) fn cells(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.cells.get(index(at))?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.cells.get_mut(index(at))?.value.as_mut()
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let cell = Cell { value: Some(value), previous: NONE, next: NONE };
        if let Some(at) = self.free.pop()
            && let Some(free) = self.cells.get_mut(index(at))
        {
            *free = cell;
            return at;
        }
        let at = u32::try_from(self.cells.len()).unwrap_or(NONE);
        self.cells.push(cell);
        at
    }

    /// Takes a value out; it must have left its order before.
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.cells.get_mut(index(at))?.value.take()?;
        self.free.push(at);
        Some(value)
    }

    /// Appends a position that is in no order.
    pub(super) fn append(&mut self, order: &mut Order, at: u32) {
        let last = order.last;
        let Some(cell) = self.cells.get_mut(index(at)) else { return };
        (cell.previous, cell.next) = (last, NONE);
        match self.cells.get_mut(index(last)) {
            Some(before) => before.next = at,
            None => order.first = at,
        }
        order.last = at;
        order.len = order.len.saturating_add(1);
    }

    /// Takes a position out of the order it is in.
    pub(super) fn unlink(&mut self, order: &mut Order, at: u32) {
        let Some(cell) = self.cells.get_mut(index(at)) else { return };
        let (previous, next) = (cell.previous, cell.next);
        (cell.previous, cell.next) = (NONE, NONE);
        match self.cells.get_mut(index(previous)) {
            Some(before) => before.next = next,
            None => order.first = next,
        }
        match self.cells.get_mut(index(next)) {
            Some(after) => after.previous = previous,
            None => order.last = previous,
        }
        order.len = order.len.saturating_sub(1);
    }

    /// All values by position.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(&self.cells).filter_map(|(at, cell)| Some((at, cell.value.as_ref()?)))
    }

    /// All values by position.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0u32..).zip(&mut self.cells).filter_map(|(at, cell)| Some((at, cell.value.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is appended and taken out, in whatever turn: a deque says the same.
        #[test]
        fn an_order_is_a_deque(steps in proptest::collection::vec(any::<(bool, u8)>(), 0..300)) {
            let (mut slab, mut order) = (Slab::default(), Order::default());
            let mut model: VecDeque<u32> = VecDeque::new();
            for (insert, pick) in steps {
                if insert || model.is_empty() {
                    let at = slab.insert(pick);
                    slab.append(&mut order, at);
                    prop_assert!(!model.contains(&at));
                    model.push_back(at);
                } else {
                    let at = model.remove(usize::from(pick) % model.len()).unwrap();
                    slab.unlink(&mut order, at);
                    prop_assert!(slab.remove(at).is_some() && slab.get(at).is_none());
                }
                prop_assert_eq!((order.len(), slab.len()), (model.len(), model.len()));
                prop_assert_eq!(order.first(), model.front().copied());
            }
            let mut left = Vec::new();
            while let Some(at) = order.first() {
                slab.unlink(&mut order, at);
                left.push(at);
            }
            prop_assert_eq!(left, Vec::from(model));
        }
    }
}
