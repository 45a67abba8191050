//! How many rows wait in the outbox behind what was read. Each row is counted once, when it is read or looked past, so that
//! the number is exact without a scan of the whole: rows only ever come at the end, and only the runner takes them away.

/// The rows from the runner's cursor on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    /// Rows counted, from the cursor to `to`.
    rows: u64,
    /// The first sequence that was not counted.
    to: u64,
    /// There may be rows from there on.
    is_behind: bool,
}

impl Depth {
    /// Nothing counted, all to be.
    pub(crate) const fn new() -> Self {
        Self { rows: 0, to: 0, is_behind: true }
    }

    /// Rows from the cursor on, as far as they were counted.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Where to count on, if there may be more.
    pub(crate) fn next(&self) -> Option<u64> {
        self.is_behind.then_some(self.to)
    }

    /// There may be more.
    pub(crate) const fn grew(&mut self) {
        self.is_behind = true;
    }

    /// `rows` were counted up to `next`; whether that is the `end`.
    pub(crate) const fn counted(&mut self, rows: u64, next: u64, end: bool) {
        self.rows += rows;
        self.to = next;
        self.is_behind |= !end;
    }

    /// Counting has begun: what comes from now on is said anew.
    pub(crate) const fn begin(&mut self) {
        self.is_behind = false;
    }

    /// The cursor has gone over `rows` to `next`.
    pub(crate) const fn read(&mut self, rows: u64, next: u64) {
        if next >= self.to {
            self.rows = 0;
            self.to = next;
        } else {
            self.rows = self.rows.saturating_sub(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Depth;

    #[test]
    fn what_is_read_is_no_longer_behind_the_cursor_and_nothing_is_counted_twice() {
        let mut depth = Depth::new();
        assert_eq!(depth.next(), Some(0));
        // The cursor reads past what was counted.
        depth.read(10, 11);
        assert_eq!((depth.rows(), depth.next()), (0, Some(11)));
        depth.begin();
        depth.counted(500, 600, false);
        assert_eq!((depth.rows(), depth.next()), (500, Some(600)));
        depth.begin();
        depth.counted(7, 900, true);
        assert_eq!((depth.rows(), depth.next()), (507, None));
        depth.read(100, 111);
        assert_eq!(depth.rows(), 407);
        depth.grew();
        assert_eq!(depth.next(), Some(900));
        depth.read(450, 1_000);
        assert_eq!((depth.rows(), depth.next()), (0, Some(1_000)));
    }
}
