//! What Socket.IO clients may ask for.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use synapse_chassis::identity::Refusal;
use synapse_realtime::{
    driver::Work,
    hub::Room,
    socketio::{
        application::{Answer, Application, Failure},
        packet::{self, Arguments},
    },
    websocket::frame,
};
use tokio::time::Instant;

use crate::{
    client::Client,
    feed::show,
    metrics,
    notification::Notification,
    platform::{Platform, Who, expiry_of},
};

/// One Socket.IO connection.
pub(crate) struct SocketIoClient {
    platform: Arc<Platform>,
    client: Arc<Client>,
    /// The token that came with the request.
    token: Option<String>,
    who: Option<Who>,
}

/// What a client says to prove or tell who it is.
#[derive(Default)]
struct Claim {
    token: Option<String>,
    user: Option<String>,
}

/// Somebody who is known, and what it missed.
pub(crate) struct Entered {
    who: Who,
    missed: Vec<Notification>,
}

/// What comes of an event that takes a while.
pub(crate) enum Outcome {
    /// It said who it is.
    Authenticated(Result<Entered, Failure>),
    /// It asked for its own room.
    Subscribed(Entered),
}

impl SocketIoClient {
    pub(crate) fn new(platform: Arc<Platform>, client: Arc<Client>, token: Option<String>) -> Self {
        Self { platform, client, token, who: None }
    }

    fn say(&self, name: &str, argument: &Value) {
        self.client.link.send(frame::text(&packet::event(name, argument)));
    }

    /// Finds out who it is, takes it into its room, and looks up what it missed.
    fn enter(&self, claim: Claim) -> Work<Result<Entered, Failure>> {
        let (platform, client, before) = (self.platform.clone(), self.client.clone(), self.who.clone());
        Box::pin(async move {
            let who =
                identify(&platform, claim).await.inspect_err(|failure| metrics::refused(failure.code))?;
            let is_another = before.is_some_and(|before| before.user != who.user);
            if is_another && !platform.service.authenticator.is_open() {
                return Err(Failure::new(
                    "not_yours",
                    "this connection is another user's; connect anew to change users",
                ));
            }
            let missed = platform.admit(&client, &who).await;
            Ok(Entered { who, missed })
        })
    }

    fn entered(&mut self, Entered { who, missed }: Entered) {
        self.say("authenticated", &json!({ "success": true, "userId": who.user }));
        show(&self.client, &who.room, &missed);
        self.who = Some(who);
    }

    fn not_entered(&self, Failure { code, message }: &Failure) {
        self.say("authenticated", &json!({ "success": false, "error": message, "code": code }));
    }

    /// Its own room, if this is one.
    fn own_room(&self, arguments: &[Value]) -> Result<Room, Failure> {
        let who = self.who.as_ref().ok_or_else(|| {
            Failure::new("not_authenticated", "say who you are first: authenticate {userId, token}")
        })?;
        let Some(Value::String(name)) = arguments.first() else {
            return Err(Failure::new("invalid_request", "expected a room, for example user_42"));
        };
        let room = Room::named(name).map_err(|error| Failure::new("invalid_room", error.to_string()))?;
        if room != who.room {
            return Err(Failure::new("not_yours", "this room is not yours; your own is user_<id>"));
        }
        Ok(room)
    }

    fn subscribe(&self, arguments: &[Value]) -> Answer<Outcome> {
        let room = match self.own_room(arguments) {
            Ok(room) => room,
            Err(failure) => return Answer::Now(Err(failure)),
        };
        match &self.who {
            Some(who) if self.client.room().as_ref() != Some(&room) => {
                let (platform, client, who) = (self.platform.clone(), self.client.clone(), who.clone());
                Answer::Later(Box::pin(async move {
                    let missed = platform.admit(&client, &who).await;
                    Outcome::Subscribed(Entered { who, missed })
                }))
            }
            // It is there already.
            _ => Answer::Now(Ok(())),
        }
    }

    fn unsubscribe(&self, arguments: &[Value]) -> Result<(), Failure> {
        self.own_room(arguments)?;
        self.platform.retire(&self.client);
        Ok(())
    }
}

/// Who this is: by its token, or by its word where that is taken.
async fn identify(platform: &Platform, claim: Claim) -> Result<Who, Failure> {
    let authenticator = &platform.service.authenticator;
    if claim.token.is_none() && !authenticator.is_open() {
        return Err(refused(Refusal::TokenMissing));
    }
    let identity = authenticator.identify(claim.token.as_deref()).await.map_err(refused)?;
    let user = claim.user.or_else(|| identity.user.clone());
    let user = user.filter(|user| !user.is_empty()).ok_or_else(|| {
        Failure::new("invalid_request", "say for whom: authenticate {userId}, a text or a whole number")
    })?;
    if !identity.may_act_as(&user) {
        return Err(Failure::new("not_yours", "the token is another user's than userId says"));
    }
    let room = Room::user(&user).map_err(|error| Failure::new("invalid_user", error.to_string()))?;
    Ok(Who { user, room, expires_at: expiry_of(&identity) })
}

fn refused(refusal: Refusal) -> Failure {
    Failure::new(refusal.code(), refusal.to_string())
}

impl Claim {
    /// What an `auth` or a request says.
    fn of(said: &Value) -> Self {
        let user = ["userId", "user_id"].iter().find_map(|name| match &said[*name] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            _ => None,
        });
        Self { token: said["token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned), user }
    }
}

impl Application for SocketIoClient {
    /// `None`: it will say later who it is.
    type Admission = Option<Result<Entered, Failure>>;
    type Outcome = Outcome;

    fn connect(&mut self, auth: Value) -> Work<Result<Self::Admission, Failure>> {
        let is_open = self.platform.service.authenticator.is_open();
        let mut claim = Claim::of(&auth);
        claim.token = claim.token.or_else(|| self.token.clone());
        // A token that nobody can check says nothing.
        let says_who = if is_open { claim.user.is_some() } else { claim.token.is_some() };
        if says_who {
            let entering = self.enter(claim);
            return Box::pin(async { entering.await.map(|entered| Some(Ok(entered))) });
        }
        let platform = self.platform.clone();
        Box::pin(async move {
            // It gets nothing before it says who it is, if it may be here at all.
            platform.service.authenticator.identify(None).await.map_err(refused)?;
            Ok(claim.user.map(|_| Err(refused(Refusal::TokenMissing))))
        })
    }

    fn connected(&mut self, _sid: &str, admission: Self::Admission) -> Option<Work<()>> {
        match admission {
            Some(Ok(entered)) => self.entered(entered),
            Some(Err(failure)) => self.not_entered(&failure),
            None => {}
        }
        None
    }

    fn event(&mut self, name: &str, arguments: Arguments<'_>) -> Answer<Outcome> {
        let arguments = arguments.values;
        match name {
            "authenticate" => {
                let mut claim = match arguments.first() {
                    // Some clients send the id alone.
                    Some(Value::String(user)) => Claim { user: Some(user.clone()), token: None },
                    Some(said) => Claim::of(said),
                    None => Claim::default(),
                };
                claim.token = claim.token.or_else(|| self.token.clone());
                let entering = self.enter(claim);
                Answer::Later(Box::pin(async { Outcome::Authenticated(entering.await) }))
            }
            "subscribe" => self.subscribe(arguments),
            "unsubscribe" => Answer::Now(self.unsubscribe(arguments)),
            _ => {
                let name: String = name.chars().take(60).collect();
                Answer::Now(Err(Failure::new("unknown_event", format!("there is no event {name:?}"))))
            }
        }
    }

    fn finished(&mut self, outcome: Outcome) -> Result<(), Failure> {
        match outcome {
            Outcome::Authenticated(Ok(entered)) => {
                self.entered(entered);
                Ok(())
            }
            Outcome::Authenticated(Err(failure)) => {
                self.not_entered(&failure);
                Err(failure)
            }
            Outcome::Subscribed(Entered { who, missed }) => {
                show(&self.client, &who.room, &missed);
                Ok(())
            }
        }
    }

    fn disconnected(&mut self) {
        self.platform.retire(&self.client);
        self.client.forget();
        self.who = None;
    }

    fn expires_at(&self) -> Option<Instant> {
        self.who.as_ref().and_then(|who| who.expires_at)
    }

    fn ping_by(&self) -> Option<Instant> {
        // While much waits for a slow line, a ping behind it would be answered too late.
        self.client.ask_at().filter(|_| self.client.link.waiting_bytes() == 0)
    }

    fn pinged(&mut self) {
        self.client.asked();
    }

    fn ponged(&mut self, _after: Duration) {
        self.platform.feed.arrived(self.client.answered());
    }
}
