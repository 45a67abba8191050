//! The naive resolution, straight from the definitions: what the engine is compared with.
