// What goes between the gateway and its clients over Socket.IO, WebSocket and server-sent events; docs/gateway.md says when.

import type { CloseCode, CloseReason, StreamEventHandlers, StreamEvents, StreamName, Streams } from "./events";

export type * from "./events";

// === what clients ask for ===

/** A condition: all keys must match, a list matches any of its values, dots reach into objects. */
export type Where = Record<string, unknown>;

/** Streams, all if there are none, and which of their events. */
export interface Selection {
  streams?: StreamName[];
  where?: Where;
}

/** Who one is: by a token, or where no key is set by one's own word. The `auth` of a Socket.IO handshake. */
export interface Credentials {
  token?: string;
  userId?: string;
  organizationId?: string;
}

/** Why something is not done. */
export interface Failure {
  code: string;
  message: string;
}

/** Why a connection ends. From 3500 on, coming back is of no use. */
export interface Closing {
  code: CloseCode;
  reason: CloseReason;
}

/** What synapse-notifications has for a user. */
export interface Notification {
  id: string;
  type: string;
  message: string;
  data: unknown;
  timestamp: string;
}

/** What a service said to a user by `POST /emit/gamification`. */
export interface Gamification {
  type: string;
  data: unknown;
  timestamp: string;
}

// === Socket.IO, at /socket.io/ ===

/** The acknowledgement of what a client emits. */
export type Answer = { ok: true; error?: undefined } | { ok?: undefined; error: Failure };

/** What comes over Socket.IO, besides events of the streams: `Socket<ServerToClientEvents, ClientToServerEvents>`. */
export interface ServerToClientEvents extends StreamEventHandlers {
  connection_confirmed: (confirmed: { socketId: string; timestamp: string }) => void;
  "presence:update": (...presence: unknown[]) => void;
  notification: (notification: Notification) => void;
  "gamification:event": (gamification: Gamification) => void;
  /** Now and then to who may come back, who keeps it as its offset. */
  position: (position: string) => void;
  closing: (closing: Closing) => void;
}

/** What a client may emit. */
export interface ClientToServerEvents {
  join_user_room: (userId: string | number, answer?: (answer: Answer) => void) => void;
  join_adventure_room: (id: string | number, answer?: (answer: Answer) => void) => void;
  "presence:update": (presence: unknown, answer?: (answer: Answer) => void) => void;
  subscribe: (selection: Selection, answer?: (answer: Answer) => void) => void;
  unsubscribe: (selection: Selection, answer?: (answer: Answer) => void) => void;
  refresh: (renewed: { token: string }, answer?: (answer: Answer) => void) => void;
}

// === WebSocket, at /ws ===

/** A message to the gateway. */
export type ClientMessage =
  | ({ type: "auth" } & Credentials)
  | { type: "refresh"; token: string }
  | ({ type: "subscribe"; after?: string; last?: number } & Selection)
  | { type: "unsubscribe"; streams?: StreamName[] }
  | { type: "ping" };

/** Who a client is taken for. */
export interface Welcome {
  user: string | null;
  anonymous: boolean;
}

/** What comes follows this position. Unless `recovered`, something before it is gone. */
export interface Subscribed {
  streams: StreamName[];
  position: string;
  recovered: boolean;
}

/** Where a client is that has got everything so far. */
export interface Position {
  position: string;
}

/** An event of a stream. */
export type EventMessage = {
  [Name in StreamName]: { type: "event"; stream: Name; id: string; position: string; event: Streams[Name] };
}[StreamName];

/** A message from the gateway. */
export type ServerMessage =
  | ({ type: "welcome" } & Welcome)
  | ({ type: "subscribed" } & Subscribed)
  | EventMessage
  | ({ type: "position" } & Position)
  | { type: "unsubscribed"; streams: StreamName[] }
  | { type: "pong" }
  | { type: "notification"; data: Notification }
  | { type: "gamification:event"; data: Gamification }
  | ({ type: "error" } & Failure);

// === server-sent events, at /events ===

/** What the `data` of each event is, as JSON, by the event's name. */
export interface ServerSentEvents extends StreamEvents {
  welcome: Welcome;
  subscribed: Subscribed;
  position: Position;
  notification: Notification;
  "gamification:event": Gamification;
  /** `code` is null, and `reason` the code of an error, if the client was not let in. */
  closing: { code: CloseCode | null; reason: string; message: string };
}
