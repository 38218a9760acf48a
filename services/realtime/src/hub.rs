//! Who is connected, and which rooms each is in.
//!
//! Both are sharded, and a lock is held only while members are listed or noted, never while
//! anything is written to a socket.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;
use smallvec::SmallVec;

mod room;

pub use room::{InvalidRoom, MAX_ROOM_BYTES, Room};

const SHARDS: usize = 64;

type Members<T> = SmallVec<[Arc<T>; 1]>;

/// All members, and the rooms they are in.
#[derive(Debug)]
pub struct Hub<T> {
    everyone: Vec<RwLock<Vec<Arc<T>>>>,
    rooms: Vec<RwLock<HashMap<Room, Members<T>>>>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl<T> Default for Hub<T> {
    fn default() -> Self {
        Self {
            everyone: (0..SHARDS).map(|_| RwLock::default()).collect(),
            rooms: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }
}

impl<T> Hub<T> {
    /// How many members there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a member, in no room.
    pub fn enter(&self, member: &Arc<T>) {
        self.shard_of(member).write().push(member.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a member, who must have left every room; whether it was there.
    pub fn leave(&self, member: &Arc<T>) -> bool {
        let mut members = self.shard_of(member).write();
        let Some(place) = members.iter().position(|other| Arc::ptr_eq(other, member)) else { return false };
        members.swap_remove(place);
        if members.len() * 4 < members.capacity() {
            members.shrink_to_fit();
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Puts a member into a room; nothing if it is there.
    pub fn join(&self, room: &Room, member: &Arc<T>) {
        let mut rooms = self.room_shard(room).write();
        let members = match rooms.entry(room.clone()) {
            Entry::Occupied(members) => members.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Members::new()),
        };
        if !members.iter().any(|other| Arc::ptr_eq(other, member)) {
            members.push(member.clone());
        }
    }

    /// Takes a member out of a room. An empty room is forgotten.
    pub fn part(&self, room: &Room, member: &Arc<T>) {
        let mut rooms = self.room_shard(room).write();
        let Some(members) = rooms.get_mut(room) else { return };
        members.retain(|other| !Arc::ptr_eq(other, member));
        if members.is_empty() {
            rooms.remove(room);
        }
    }

    /// Calls `visit` for each member. It must not wait, nor come back to the hub.
    pub fn each(&self, mut visit: impl FnMut(&Arc<T>)) {
        for shard in &self.everyone {
            shard.read().iter().for_each(&mut visit);
        }
    }

    /// Calls `visit` for each member of a room. It must not wait, nor come back to the hub.
    pub fn each_in(&self, room: &Room, visit: impl FnMut(&Arc<T>)) {
        if let Some(members) = self.room_shard(room).read().get(room) {
            members.iter().for_each(visit);
        }
    }

    /// How many rooms have a member.
    pub fn room_count(&self) -> usize {
        self.rooms.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard_of(&self, member: &Arc<T>) -> &RwLock<Vec<Arc<T>>> {
        // Allocations of one size lie at regular distances: hashing spreads them.
        &self.everyone[self.index(Arc::as_ptr(member).addr())]
    }

    fn room_shard(&self, room: &Room) -> &RwLock<HashMap<Room, Members<T>>> {
        &self.rooms[self.index(room)]
    }

    fn index(&self, key: impl std::hash::Hash) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
        let hash = self.hasher.hash_one(key) as usize;
        hash % SHARDS
    }
}

#[cfg(test)]
mod tests;
