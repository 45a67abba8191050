//! Reading the profile API, for the commands that show or compare profiles.

use crate::http::{Failed, Remote, encoded};
use hyper::Method;
use serde_json::Value;

/// Items of a page, at most: what the API gives.
const PAGE: u64 = 200;

/// The profiles of the workspace that a server has in force.
pub(crate) struct Profiles<'a> {
    remote: &'a Remote,
    workspace: String,
}

impl<'a> Profiles<'a> {
    pub(crate) async fn of(remote: &'a Remote) -> Result<Self, Failed> {
        let answer = remote.ask(Method::GET, "/api/workspace", None).await?;
        let workspace = answer["workspace"]["workspace"].as_str().unwrap_or_default().to_owned();
        Ok(Self { remote, workspace })
    }

    /// A part of whoever has the identifier `id`, `type:value`; an error if that is nobody.
    pub(crate) async fn part(&self, id: &str, part: &str) -> Result<Value, Failed> {
        self.remote.ask(Method::GET, &self.path(id, part), None).await
    }

    /// The first `most` items of a part that is a list, in as many pages as they take; the cursor is that of the last page,
    /// so that it says whether there are more.
    pub(crate) async fn list(&self, id: &str, part: &str, most: u64) -> Result<Value, Failed> {
        let (mut whole, mut left, mut from) = (Value::Null, most, String::new());
        let sign = if part.contains('?') { '&' } else { '?' };
        loop {
            let limit = left.min(PAGE);
            let mut page = self.part(id, &format!("{part}{sign}limit={limit}{from}")).await?;
            let cursor = page["cursor"].clone();
            left -= added(&mut whole, &mut page).min(left);
            if cursor["has_more"] != true || left == 0 {
                return Ok(whole);
            }
            from = format!("&cursor={}", encoded(cursor["next"].as_str().unwrap_or_default()));
        }
    }

    /// The same as [`Self::part`]; `None` if that is nobody.
    pub(crate) async fn part_if_known(&self, id: &str, part: &str) -> Result<Option<Value>, Failed> {
        match self.remote.call(Method::GET, &self.path(id, part), None).await? {
            (404, _) => Ok(None),
            (status, answer) => Remote::taken(status, answer).map(Some),
        }
    }

    fn path(&self, id: &str, part: &str) -> String {
        let (workspace, id) = (encoded(&self.workspace), encoded(id));
        format!("/v1/spaces/{workspace}/collections/users/profiles/{id}/{part}")
    }
}

/// Puts the items of `page` behind those of `whole`, and the cursor of `page` in place of its own; how many came.
fn added(whole: &mut Value, page: &mut Value) -> u64 {
    let count = |list: &Value| match (&list["data"], &list["traits"]) {
        (Value::Array(items), _) => items.len() as u64,
        (_, Value::Object(traits)) => traits.len() as u64,
        _ => 0,
    };
    let more = count(page);
    if whole.is_null() {
        *whole = page.take();
        return more;
    }
    whole["cursor"] = page["cursor"].take();
    if let (Some(Value::Array(known)), Value::Array(items)) = (whole.get_mut("data"), page["data"].take()) {
        known.extend(items);
    }
    if let (Some(Value::Object(known)), Value::Object(traits)) =
        (whole.get_mut("traits"), page["traits"].take())
    {
        known.extend(traits);
    }
    more
}
