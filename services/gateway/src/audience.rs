//! What goes to whom.
//!
//! | stream | event | audience |
//! |---|---|---|
//! | inference-events, platform-events | with a `user_id` | that user's connections alone |
//! | | with an `organization_id` and no user | that organisation's connections |
//! | | others | everyone |
//! | model-events, training-events | all | everyone |
//! | agi-decisions, error-events, anything else | all | the scope `events:all`; without a key, everyone |

use synapse_realtime::hub::Room;
use synapse_rs::{Event, stream};

use crate::streams::Stream;

/// Who gets an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every connection that asks for the stream.
    Everyone,
    /// Those in a room.
    Room(Room),
}

/// Tells who gets what; the same for events as they come and for those of the past.
#[derive(Clone, Copy, Debug)]
pub struct Audiences {
    /// No key is set: identity is by the client's word, and everyone may see every stream.
    pub is_open: bool,
}

impl Audiences {
    /// Who gets this event of this stream.
    pub fn of(self, stream: Stream, event: &Event) -> Audience {
        match stream.name() {
            stream::INFERENCE_EVENTS | stream::PLATFORM_EVENTS => {
                // Made without the checks of rooms that clients name: nobody can be in a room of
                // a malformed name, and then nobody gets the event.
                let user = event.user_id().map(|id| Room::User(id.into()));
                let room = user.or_else(|| event.organization_id().map(|id| Room::Organisation(id.into())));
                room.map_or(Audience::Everyone, Audience::Room)
            }
            stream::MODEL_EVENTS | stream::TRAINING_EVENTS => Audience::Everyone,
            _ if self.is_open => Audience::Everyone,
            _ => Audience::Room(Room::AllEvents),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYED: Audiences = Audiences { is_open: false };
    const OPEN: Audiences = Audiences { is_open: true };

    fn of(audiences: Audiences, key: &str, fields: &[(&str, &str)]) -> Audience {
        let event = fields.iter().fold(Event::new("x"), |event, (field, value)| event.with(*field, *value));
        audiences.of(Stream::of_key(key).unwrap(), &event)
    }

    fn room(room: Room) -> Audience {
        Audience::Room(room)
    }

    #[test]
    fn an_event_with_a_user_is_that_users_alone() {
        for key in ["inference-events", "platform-events"] {
            let user = room(Room::user("42").unwrap());
            assert_eq!(of(KEYED, key, &[("user_id", "42")]), user);
            assert_eq!(of(KEYED, key, &[("user_id", "42"), ("organization_id", "acme")]), user);
            assert_eq!(of(OPEN, key, &[("user_id", "42")]), user);
        }
    }

    #[test]
    fn an_event_with_an_organisation_and_no_user_is_the_organisations() {
        for key in ["inference-events", "platform-events"] {
            let organisation = room(Room::organisation("acme").unwrap());
            assert_eq!(of(KEYED, key, &[("organization_id", "acme")]), organisation);
            assert_eq!(of(OPEN, key, &[("organization_id", "acme")]), organisation);
        }
    }

    #[test]
    fn other_inference_and_platform_events_are_for_everyone() {
        for key in ["inference-events", "platform-events"] {
            assert_eq!(of(KEYED, key, &[]), Audience::Everyone);
        }
    }

    #[test]
    fn model_and_training_events_are_for_everyone_whoever_is_named_in_them() {
        for key in ["model-events", "training-events"] {
            assert_eq!(of(KEYED, key, &[]), Audience::Everyone);
            let named = [("user_id", "42"), ("organization_id", "acme")];
            assert_eq!(of(KEYED, key, &named), Audience::Everyone);
        }
    }

    #[test]
    fn decisions_and_errors_need_the_scope_unless_no_key_is_set() {
        for key in ["agi-decisions", "agi-events", "error-events"] {
            assert_eq!(of(KEYED, key, &[]), room(Room::AllEvents));
            assert_eq!(of(KEYED, key, &[("user_id", "42")]), room(Room::AllEvents));
            assert_eq!(of(OPEN, key, &[]), Audience::Everyone);
        }
    }

    #[test]
    fn a_user_id_that_no_room_can_have_reaches_nobody_rather_than_everyone() {
        let long = "x".repeat(1_000);
        assert_eq!(
            of(KEYED, "inference-events", &[("user_id", &long)]),
            room(Room::User(long.as_str().into()))
        );
    }
}
