//! Stand-in while the storage is built.
#![allow(unreachable_pub, missing_docs, unused, clippy::all, clippy::pedantic)]
use super::SpoolConfig;
use std::collections::VecDeque;
#[derive(Clone, Debug, thiserror::Error)]
#[error("there is no spool yet")]
pub enum SpoolError {
    Missing,
}
#[derive(Debug, Default)]
pub(super) struct Recovery;
#[derive(Debug)]
pub(super) struct Spool {
    recovery: Recovery,
}
pub(super) struct Records;
impl Records {
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        std::iter::empty()
    }
}
impl Spool {
    pub fn open_all(_: &SpoolConfig) -> Result<VecDeque<Self>, SpoolError> {
        Err(SpoolError::Missing)
    }
    pub fn append<'a, P: AsRef<[&'a [u8]]>>(
        &mut self,
        _: impl Iterator<Item = P>,
    ) -> Result<u64, SpoolError> {
        Ok(0)
    }
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        Ok(())
    }
    pub fn is_synced(&self) -> bool {
        true
    }
    pub fn read(&mut self, _: usize) -> Result<Records, SpoolError> {
        Ok(Records)
    }
    pub fn skip(&mut self, _: u64) {}
    pub fn rewind(&mut self) {}
    pub fn settle(&mut self, _: u64, _: &[u8]) -> Result<(), SpoolError> {
        Ok(())
    }
    pub fn note(&self) -> &[u8] {
        &[]
    }
    pub fn first(&self) -> u64 {
        0
    }
    pub fn next_read(&self) -> u64 {
        0
    }
    pub fn end(&self) -> u64 {
        0
    }
    pub fn len(&self) -> u64 {
        0
    }
    pub fn is_empty(&self) -> bool {
        true
    }
    pub fn bytes(&self) -> u64 {
        0
    }
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}
