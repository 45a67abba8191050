//! From what a client sent to the one form that an identifier is compared in.

use phonenumber::metadata::DATABASE;
use phonenumber::{Mode, PhoneNumber, country};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How values of a type are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normaliser {
    /// Trimmed, case kept.
    Exact,
    /// Trimmed, lower case.
    Lowercase,
    /// An e-mail address: trimmed, lower case, one `@` with something on both sides.
    Email,
    /// A telephone number in E.164.
    Phone,
}

impl FromStr for Normaliser {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "exact" => Ok(Self::Exact),
            "lowercase" => Ok(Self::Lowercase),
            "email" => Ok(Self::Email),
            "phone" => Ok(Self::Phone),
            _ => Err(()),
        }
    }
}

impl Normaliser {
    /// The normal form, or `None` if `raw` fails the type's syntax.
    pub(crate) fn apply(self, raw: &str, region: Option<country::Id>) -> Option<String> {
        let trimmed = raw.trim();
        match self {
            Self::Exact => Some(trimmed.to_owned()),
            Self::Lowercase => Some(trimmed.to_lowercase()),
            Self::Email => email(trimmed),
            Self::Phone => phone(trimmed, region),
        }
    }
}

fn email(trimmed: &str) -> Option<String> {
    let (local, domain) = trimmed.split_once('@')?;
    let plain = !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
        && !trimmed.contains(char::is_whitespace);
    plain.then(|| trimmed.to_lowercase())
}

/// A country by its code; none if there is no such country or it has no numbering plan.
pub(crate) fn region_of(text: &str) -> Option<country::Id> {
    let region: country::Id = text.trim().to_uppercase().parse().ok()?;
    DATABASE.by_id(region.as_ref()).map(|_| region)
}

/// Digits of an E.164 number, country code included: ITU-T E.164 says 15 at most; fewer than 7 reach no subscriber.
const E164_DIGITS: RangeInclusive<usize> = 7..=15;

/// E.164 (ITU-T): `+`, country code, subscriber number. Without `+` a number counts only in a known region.
///
/// Whether the number is assigned to anyone is not asked: what is known of numbering plans is younger than some numbers
/// and older than others, and leaves out those set apart for examples and fiction.
fn phone(trimmed: &str, region: Option<country::Id>) -> Option<String> {
    let plain = match trimmed.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &trimmed[4..],
        _ => trimmed,
    };
    let is_plus = |c: char| c == '+' || c == '\u{ff0b}';
    let international = plain.starts_with(is_plus);
    if !international && region.is_none() {
        return None;
    }
    let rest = plain.trim_start_matches(is_plus);
    let Some(digits) = digits(rest) else {
        // Letters, extensions, parameters: as the library reads them, and then only a number that can be assigned. The
        // region is for numbers without `+`: the library would take its trunk prefixes off a foreign number too.
        let number = phonenumber::parse(region.filter(|_| !international), plain).ok()?;
        return phonenumber::is_valid(&number).then(|| e164(&number)).and_then(settled);
    };
    match region {
        _ if international => worldwide(&digits),
        Some(region) => national(&digits, region),
        None => None,
    }
}

fn e164(number: &PhoneNumber) -> String {
    number.format().mode(Mode::E164).to_string()
}

/// The digits of what holds nothing else but what separates them.
fn digits(text: &str) -> Option<String> {
    let mut digits = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' => digits.push(c),
            ' ' | '\u{a0}' | '\t' | '-' | '.' | '(' | ')' | '[' | ']' | '/' => {}
            '\u{2010}'..='\u{2015}' | '\u{202f}' | '\u{2212}' => {}
            _ => return None,
        }
    }
    Some(digits)
}

/// A country code and what follows it.
fn worldwide(digits: &str) -> Option<String> {
    let found = read(digits)?;
    if found[1..] == *digits { Some(found) } else { settled(found) }
}

/// One number, one form: reads a form again until it stays as it is. One that does not is no number.
fn settled(mut found: String) -> Option<String> {
    for _ in 0..3 {
        let again = read(&found[1..])?;
        if again == found {
            return Some(found);
        }
        found = again;
    }
    None
}

fn read(digits: &str) -> Option<String> {
    let number = phonenumber::parse(None, format!("+{digits}")).ok()?;
    let code = number.code().value();
    let mut found = e164(&number);
    if !phonenumber::is_valid(&number) {
        // Of a number that the plan does not know the library leaves a trunk zero, as in `+44 (0)7700 900123`, where it is.
        let plans = DATABASE.by_code(&code)?;
        let plan = plans.into_iter().find(|plan| plan.is_main_country_for_code());
        let national = number.national().to_string();
        if let Some(rest) = national.strip_prefix('0')
            && plan.is_some_and(|plan| plan.national_prefix() == Some("0"))
        {
            found = format!("+{code}{rest}");
        }
    }
    E164_DIGITS.contains(&(found.len() - 1)).then_some(found)
}

/// A number as it is dialled in `region`, or from there to another.
fn national(digits: &str, region: country::Id) -> Option<String> {
    let plan = DATABASE.by_id(region.as_ref())?;
    let prefix = plan.international_prefix().and_then(|prefix| prefix.find(digits));
    if let Some(abroad) = prefix.filter(|found| found.start() == 0).map(|found| &digits[found.end()..])
        && !abroad.starts_with('0')
    {
        return worldwide(abroad);
    }
    let number = phonenumber::parse(Some(region), digits).ok()?;
    // Without an area code it is another number in the next town.
    let length = number.national().to_string().len() as u16;
    let kinds = [plan.descriptors().fixed_line(), plan.descriptors().mobile()];
    let possible = kinds.into_iter().flatten().any(|kind| kind.possible_length().contains(&length));
    (possible || phonenumber::is_valid(&number)).then(|| e164(&number)).and_then(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        let email = |raw| Normaliser::Email.apply(raw, None);
        assert_eq!(email(" A@X.com ").as_deref(), Some("a@x.com"));
        for bad in ["", "@", "a@", "@x.com", "a@b@c", "not-an-email", "a b@x.com"] {
            assert_eq!(email(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_number_has_one_form() {
        let table = [
            (None, "+31 (0)20 624 1111", "+31206241111"),
            (None, "+3120-624-1111", "+31206241111"),
            (None, "tel:+31-20-624-1111", "+31206241111"),
            (None, "\u{ff0b}31 20 624 1111", "+31206241111"),
            (None, "+316-12345678", "+31612345678"),
            // Set apart for fiction: North America, Britain, France, Australia.
            (None, "+15551234567", "+15551234567"),
            (None, "+1 (555) 123-4567", "+15551234567"),
            (None, "+1.555.123.4567", "+15551234567"),
            (None, "+1 202 555 0143", "+12025550143"),
            (None, "+44 7700 900123", "+447700900123"),
            (None, "+44 (0)7700 900123", "+447700900123"),
            (None, "+33 6 39 98 01 23", "+33639980123"),
            (None, "+33 (0)6 39 98 01 23", "+33639980123"),
            (None, "+61 491 570 156", "+61491570156"),
            // An Italian zero is part of the number.
            (None, "+39 02 3661 8300", "+390236618300"),
            (None, "+800 1234 5678", "+80012345678"),
            (None, "+1 6502530000 ext. 123", "+16502530000"),
            (Some(country::NL), "020 624 1111", "+31206241111"),
            (Some(country::NL), "31206241111", "+31206241111"),
            (Some(country::NL), "00 1 555 123 4567", "+15551234567"),
            (Some(country::US), "(555) 123-4567", "+15551234567"),
            (Some(country::US), "1-555-123-4567", "+15551234567"),
            (Some(country::US), "011 31 10 123 4567", "+31101234567"),
            (Some(country::GB), "07700 900123", "+447700900123"),
            // A foreign number begins as a call abroad does from the region, or with its trunk prefix.
            (Some(country::US), "+31 10 123 4567", "+31101234567"),
            (Some(country::FI), "+994 12 345 67 89", "+994123456789"),
        ];
        for (region, raw, expected) in table {
            assert_eq!(phone(raw, region).as_deref(), Some(expected), "{raw} in {region:?}");
        }
    }

    #[test]
    fn a_region_has_a_numbering_plan() {
        assert_eq!(region_of("nl"), Some(country::NL));
        for none in ["", "XX", "Netherlands", "AQ"] {
            assert_eq!(region_of(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_number_has_no_form() {
        let table = [
            (None, ""),
            (None, "+"),
            (None, "+1"),
            (None, "020 624 1111"),
            (None, "+49 1234"),
            (None, "+0 123 456 789"),
            (None, "+999 123 4567"),
            (None, "+1 555 123 4567 8901 23"),
            (None, "+1 unknown"),
            (None, "+1 555 CALLMENOW"),
            (None, "+31 20 624 1111 / +31 20 624 2222"),
            (Some(country::US), "555-0123"),
            (Some(country::US), "12345"),
            (Some(country::NL), "0000"),
            (Some(country::NL), "ask at the desk"),
        ];
        for (region, raw) in table {
            assert_eq!(phone(raw, region), None, "{raw} in {region:?}");
        }
    }
}
