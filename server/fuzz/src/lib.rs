//! What the fuzz targets share: how bytes become a script, and the world in which it is played.
//!
//! The world and its observer, who judges every operation and every state, are those of the walk in
//! `server/tests/it/walk`. The walk is complete within some bytes; here the worlds are larger, and the lives longer.

#![allow(dead_code, reason = "the walk uses more of the world than this")]

#[path = "../../tests/it/walk/observer.rs"]
mod observer;
pub mod script;
#[path = "../../tests/it/walk/world.rs"]
mod world;
