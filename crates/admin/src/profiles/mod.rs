//! The profile API in Segment's shapes, and personalise.

mod accounts;
mod paging;
mod personalise;
mod traits;
mod users;

use crate::Admin;
use crate::answer::{Answer, Refused, blocking};
use crate::describe::{Described, operation};
use crate::extract::{Path, Query};
use axum::extract::State;
use axum::http::Uri;
use axum::routing::options;
use axum::{Json, Router};
use onefold_api::profiles::{Part, Personal};
use paging::{Asked, Wanted};

/// A read of the state: it may fail, and what was read may be refused.
type Found<T> = Result<Result<T, Refused>, onefold_fold::Error>;

pub(crate) fn routes() -> Described {
    Described::default().get(
        "/v1/spaces/{workspace}/collections/{collection}/profiles/{id}/{part}",
        operation(
            "Someone, or an account. collection: users or accounts; id: type:value, of an account group_id:value; part: \
             traits, external_ids, metadata or links, of a user also events or audiences",
        )
        .query::<Wanted>(),
        part,
    )
}

pub(crate) fn open_routes() -> Described {
    let what = operation("What a page may know about its own visitor").query::<personalise::Visitor>().open();
    // It answers with headers of its own.
    let what = what.answers::<Personal>("application/json");
    let mut described = Described::default().get_as("/v1/personalize", what, personalise::personalise);
    let asked = Router::new().route("/v1/personalize", options(personalise::preflight));
    described.router = described.router.merge(asked);
    described
}

async fn part(
    State(admin): State<Admin>,
    Path((workspace, collection, id, part)): Path<(String, String, String, String)>,
    Query(wanted): Query<Wanted>,
    uri: Uri,
) -> Answer<Part> {
    if admin.0.reader.handle().catalogue().catalogue.workspace.workspace != workspace {
        return Err(Refused::not_found(format!("there is no workspace `{workspace}` here")));
    }
    let Some((id_type, value)) = id.split_once(':').map(|(t, v)| (t.to_owned(), v.to_owned())) else {
        return Err(Refused::bad("expected `type:value`, as in `email:ada@example.com`"));
    };
    let url = uri.path().to_owned();
    blocking(move || {
        let asked = Asked { url, collection, id_type, value, part, wanted };
        match asked.collection.as_str() {
            "users" => users::answer(&admin, &asked),
            "accounts" => accounts::answer(&admin, &asked),
            other => Err(Refused::not_found(format!(
                "there is no collection `{other}`; expected users or accounts"
            ))),
        }
    })
    .await
    .map(Json)
}
