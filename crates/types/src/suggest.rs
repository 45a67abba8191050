//! "Did you mean …": the nearest of the names that would have been right.

/// The candidate nearest to `wrong` by optimal string alignment distance (insert, delete, replace, swap of
/// neighbours: 1 each), if it is near enough to be a likely slip: at most a third of the longer word, at least 1.
/// Ties go to the first.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong: Vec<char> = wrong.chars().take(64).collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other: Vec<char> = candidate.chars().take(64).collect();
        let allowed = (wrong.len().max(other.len()) / 3).max(1);
        let distance = distance(&wrong, &other);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let same = a[i - 1].eq_ignore_ascii_case(&b[j - 1]);
            let mut least =
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_a_slip_and_stays_silent_on_a_stranger() {
        let known = ["audiences", "destinations", "sources", "timezone"];
        assert_eq!(nearest("audience", known), Some("audiences"));
        assert_eq!(nearest("timezoen", known), Some("timezone"));
        assert_eq!(nearest("zebra", known), None);
    }
}
