//! From what a client sent to the one form that an identifier is compared in.

use phonenumber::country;
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

/// E.164 (ITU-T): `+`, country code, subscriber number. Without `+` a number counts only in a known region.
fn phone(trimmed: &str, region: Option<country::Id>) -> Option<String> {
    if !trimmed.starts_with('+') && region.is_none() {
        return None;
    }
    let number = phonenumber::parse(region, trimmed).ok()?;
    phonenumber::is_valid(&number).then(|| number.format().mode(phonenumber::Mode::E164).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_have_one_form() {
        let email = |raw| Normaliser::Email.apply(raw, None);
        assert_eq!(email(" A@X.com ").as_deref(), Some("a@x.com"));
        for bad in ["", "@", "a@", "@x.com", "a@b@c", "not-an-email", "a b@x.com"] {
            assert_eq!(email(bad), None, "{bad}");
        }
        let phone = |raw, region| Normaliser::Phone.apply(raw, region);
        assert_eq!(phone("+31 (0)20 624 1111", None).as_deref(), Some("+31206241111"));
        assert_eq!(phone("020 624 1111", Some(country::NL)).as_deref(), Some("+31206241111"));
        assert_eq!(phone("020 624 1111", None), None);
        assert_eq!(phone("+1", None), None);
    }
}
