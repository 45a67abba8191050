//! What stands below each help page.

pub(super) const SERVE_EXAMPLES: &str = r#"Examples:
  onefold serve --workspace workspace.yaml
  onefold serve --data /var/lib/onefold --listen 0.0.0.0:8080 --log-format json

ONEFOLD_LOG says what is logged: error, warn, info (if it is not set), debug or trace, for all or by module, as in
ONEFOLD_LOG=info,onefold_delivery=debug."#;

pub(super) const VERIFY_EXAMPLES: &str = r#"Example, with the server stopped:
  onefold verify --data /var/lib/onefold

Nothing that is kept is changed, but files are: the folder is opened as a start opens it, so what a crash left half written
at the end of the log goes, and the engine may write its files anew. To check a backup and keep it as it is, check a copy.

Exit code 0 if everything holds, 2 if not, 1 if it cannot be checked."#;

pub(super) const PLAN_EXAMPLES: &str = r#"Examples:
  onefold plan workspace.yaml
  onefold plan --prune sources.yaml audiences.yaml --server https://cdp.example.com

In a file `${NAME}` is a variable of the environment, and `$${` a plain `${`. A file of another workspace than the server's
is refused; to rename the workspace, say `renamed_from: OLD` beside `workspace: NEW`."#;

pub(super) const APPLY_EXAMPLES: &str = r#"Examples:
  onefold apply workspace.yaml
  onefold apply --yes --prune workspace.yaml

With --json the changes and the question are shown on stderr; without a terminal --yes is needed."#;

pub(super) const CHECK_EXAMPLES: &str = r#"Examples:
  onefold check 'count(page where path = "/pricing" in last 7d) >= 3'
  onefold check workspace.yaml"#;

pub(super) const PROFILE_EXAMPLES: &str = r#"Examples:
  onefold profile get email:ada@example.com
  onefold profile timeline user_id:u1 --limit 200
  onefold profile why anonymous_id:a1 user_id:u1

Long values are cut with …; --json has them whole."#;

pub(super) const DELIVERIES_EXAMPLES: &str = r#"Examples:
  onefold deliveries list
  onefold deliveries retry hook 17
  onefold deliveries retry hook --all
  onefold deliveries discard hook 17 18

With --json `retry` and `discard` print a line of JSON for each letter; `retry --all` one for each request, with what was
delivered and which letters failed."#;

pub(super) const EXPORT_EXAMPLES: &str = r#"Examples:
  onefold export > workspace.yaml
  onefold export --json

A `${` of the workspace is written `$${` in the file, so that it is read as itself. --json has the workspace as the API has
it, where nothing stands for a variable."#;

pub(super) const SEND_EXAMPLES: &str = r#"Examples:
  onefold send track --user-id u1 --event 'Order Completed' --properties '{"revenue": 120}'
  onefold send identify --user-id u1 --traits '{"email": "ada@example.com"}'"#;

pub(super) const TAIL_EXAMPLES: &str = r#"Examples:
  onefold tail
  onefold tail --count 10 --json --where '"Order Completed" where revenue > 100'

With --json each line is a JSON document."#;

pub(super) const QUARANTINE_EXAMPLES: &str = r#"Examples:
  onefold quarantine list --bodies
  onefold quarantine send 0 --body '{"type": "track", "event": "Mended", "userId": "u1"}'
  onefold quarantine discard 1 2

With --json `list` prints one document, `send` and `discard` a line of JSON for each item."#;

pub(super) const DECISIONS_EXAMPLES: &str = r#"Examples:
  onefold decisions list
  onefold decisions cut anonymous_id:a1 email:ada@example.com --reason 'shared laptop'
  onefold decisions undo 1
  onefold decisions delete-profile email:ada@example.com --reason 'asked for by mail'

A decision is told once it counts, with its number and the profiles that it changed. One that the rules forbid is an
error with the rule and the two identifiers that show it (exit code 1), and is not recorded. What is deleted cannot be
brought back: it is asked for first, and without a terminal --yes is needed."#;
