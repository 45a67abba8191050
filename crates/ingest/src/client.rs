//! Serving analytics.js: the client's own published bundle, its chunks and its licence.
//!
//! The published bundle finds its settings and chunks under `window.analytics._cdn`; without it, under a host of its
//! maker, because it recognises its own address only over https. So one line in front says which host it came from,
//! and `__WRITE_KEY__` becomes the key in the path, as the maker's own CDN does.

use bytes::Bytes;

/// The client as its package publishes it (`dist/umd` and the licence).
#[derive(Clone, Debug)]
pub struct ClientBundle {
    /// `standalone.js`.
    pub standalone: &'static str,
    /// The chunks it loads on demand, by file name.
    pub chunks: &'static [(&'static str, &'static [u8])],
    /// The licence.
    pub licence: &'static str,
}

impl ClientBundle {
    /// The script for a page of the source with `write_key`, served by `origin` (`https://cdp.example`).
    pub(crate) fn script(&self, write_key: &str, origin: &str) -> Bytes {
        let cdn = serde_json::Value::from(origin).to_string();
        let key = serde_json::Value::from(write_key).to_string();
        let quoted = key.trim_matches('"');
        let head = format!(
            "/* analytics.js, MIT licence: {origin}/analytics.js/LICENSE */\n\
             (window.analytics=window.analytics||[])._cdn=window.analytics._cdn||{cdn};\n"
        );
        Bytes::from(head + &self.standalone.replace("__WRITE_KEY__", quoted))
    }

    pub(crate) fn chunk(&self, name: &str) -> Option<&'static [u8]> {
        self.chunks.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
    }
}
