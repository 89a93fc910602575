//! What the fuzz targets share: how bytes become a script, the world in which it is played, and the ledger's model.
//!
//! The world and its observer, who judges every operation and every state, are those of the walk in
//! `server/tests/it/walk`. The walk is complete within some bytes; here the worlds are larger, and the lives longer.

#![allow(dead_code, reason = "the walk uses more of the world than this")]

#[path = "../../tests/it/ledger/model.rs"]
mod model;
#[path = "../../tests/it/walk/observer.rs"]
mod observer;
pub mod script;
pub mod words;
#[path = "../../tests/it/walk/world.rs"]
mod world;
