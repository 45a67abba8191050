//! Reading the profile API, for the commands that show or compare profiles.

use crate::http::{Failed, Remote, encoded};
use hyper::Method;
use serde_json::Value;

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

    /// The same; `None` if that is nobody.
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
