//! The config file: a setting's third place, after its flag and its variable.
//!
//! Its keys are the long names of `serve`'s flags, with `_` or `-`. They become the defaults of the command line, so one
//! parser decides what a value may be, wherever it was given.

use crate::args::{Args, Command};
use crate::http::Failed;
use clap::{CommandFactory, FromArgMatches, Parser};
use onefold_types::suggest;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::path::Path;

/// Why there is no command to run.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The parser of the command line has something to say: help, the version, or what is wrong.
    Said(clap::Error),
    /// The config file cannot be used.
    Failed(Failed),
}

impl From<clap::Error> for Unread {
    fn from(said: clap::Error) -> Self {
        Self::Said(said)
    }
}

/// Parses the command line, with the settings of the config file that it names, if it names one.
pub(crate) fn with_config(line: &[OsString]) -> Result<Args, Unread> {
    let args = Args::try_parse_from(line)?;
    let Command::Serve(serve) = &args.command else { return Ok(args) };
    let Some(path) = serve.config.clone() else { return Ok(args) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Unread::Failed(Failed::new(format!("the config file {} cannot be read: {error}", path.display())))
    })?;
    let command = defaults(&path, &text).map_err(Unread::Failed)?;
    Ok(Args::from_arg_matches(&command.try_get_matches_from(line)?)?)
}

/// The command line's definition with the file's settings as defaults of `serve`.
fn defaults(path: &Path, text: &str) -> Result<clap::Command, Failed> {
    let wrong = |detail: String| Failed::new(format!("{}: {detail}", path.display()));
    let settings: Map<String, Value> = serde_saphyr::from_str(text)
        .map_err(|error| wrong(format!("not YAML with one setting a line: {error}")))?;
    let mut command = Args::command();
    let serve = command.find_subcommand("serve").ok_or_else(|| wrong("there is no serve".to_owned()))?;
    let known: Vec<(String, String)> = serve
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_id().to_string())))
        .filter(|(long, _)| !["config", "help", "version"].contains(&long.as_str()))
        .collect();
    for (key, value) in settings {
        let long = key.replace('_', "-");
        let Some((_, id)) = known.iter().find(|(known, _)| *known == long) else {
            let near = suggest::nearest(&long, known.iter().map(|(known, _)| known.as_str()));
            let hint = near.map_or_else(
                || "`onefold serve --help` lists the settings".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(wrong(format!("unknown setting `{key}`; {hint}")));
        };
        let values = match value {
            Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>(),
            other => scalar(&other).map(|value| vec![value]),
        };
        let values = values.ok_or_else(|| wrong(format!("`{key}`: expected a value or a list of values")))?;
        let id = id.clone();
        command =
            command.mut_subcommand("serve", |serve| serve.mut_arg(id, |arg| arg.default_values(values)));
    }
    Ok(command)
}

fn scalar(value: &Value) -> Option<clap::builder::OsStr> {
    match value {
        Value::String(text) => Some(text.clone().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(text: &str, flags: &[&str]) -> Result<crate::args::Serve, String> {
        let command = defaults(Path::new("onefold.yaml"), text).map_err(|error| error.to_string())?;
        let line = ["onefold", "serve"].iter().chain(flags);
        let matches = command.try_get_matches_from(line).map_err(|error| error.to_string())?;
        match Args::from_arg_matches(&matches).map(|args| args.command) {
            Ok(Command::Serve(serve)) => Ok(serve),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "listen: 127.0.0.1:9000\ncache-mib: 64\ntrust_proxy: true\nworkspace: [a.yaml, b.yaml]\nlog_max_days: 30\n";
        let serve = serve(text, &["--cache-mib", "32"]).unwrap();
        assert_eq!(serve.listen.port(), 9000);
        assert_eq!((serve.cache_mib, serve.trust_proxy, serve.workspace.len()), (32, true, 2));
        assert_eq!(serve.retention.log_max_days, Some(30));
        assert_eq!(serve.limits.limit_batch_items, 2_500);
    }

    #[test]
    fn what_is_no_setting_is_named_with_the_nearest() {
        assert_eq!(
            serve("listn: x", &[]).unwrap_err(),
            "onefold.yaml: unknown setting `listn`; did you mean `listen`?"
        );
        assert!(serve("cache_mib: lots", &[]).unwrap_err().contains("--cache-mib"));
        assert!(serve("cache_mib: {}", &[]).unwrap_err().contains("expected a value"));
    }
}
