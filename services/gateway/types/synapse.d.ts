// What the gateway sends and takes. Written by `make types` from the schema of the events; a test keeps it so.

/** What every event has. Fields that are not described may be anything. */
export interface AnyEvent {
  /** its entry in the stream */
  id: string;
  /** the stream it came over */
  stream: StreamName;
  /** the same on every retry of the publication; `<stream>/<id>` where the publisher gave none */
  event_id: string;
  /** the user it belongs to; absent or `anonymous` for none */
  user_id?: string;
  /** the organisation it belongs to */
  organization_id?: string;
  /** what happened */
  event: string;
  /** when it was published, by the publisher's clock */
  timestamp?: string;
  /** who published it */
  source?: string;
  /** joins the events of one cause */
  correlation_id?: string;
  /** W3C trace context */
  traceparent?: string;
  [field: string]: unknown;
}

/** a model answered a request */
export interface InferenceCompleteEvent extends AnyEvent {
  event: "inference-complete";
  stream: "inference-events";
  /** the model asked */
  model_name: string;
  /** the model's version */
  version: string;
  /** how long the answer took, in milliseconds */
  latency_ms: number;
  /** the request answered */
  request_id?: string;
  /** tokens read and written */
  tokens_used?: number;
  /** price of the answer, in US dollars */
  cost?: number;
  /** how sure the model is, 0 to 1 */
  confidence?: number;
  /** whether there was an answer */
  success: boolean;
  /** why there was none */
  error?: string;
}

/** a model did not answer a request */
export interface InferenceFailedEvent extends AnyEvent {
  event: "inference-failed";
  stream: "inference-events";
  /** the model asked */
  model_name: string;
  /** the model's version */
  version: string;
  /** how long the answer took, in milliseconds */
  latency_ms: number;
  /** the request answered */
  request_id?: string;
  /** tokens read and written */
  tokens_used?: number;
  /** price of the answer, in US dollars */
  cost?: number;
  /** how sure the model is, 0 to 1 */
  confidence?: number;
  /** whether there was an answer */
  success: boolean;
  /** why there was none */
  error?: string;
}

/** a model can be loaded from the registry */
export interface ModelReadyEvent extends AnyEvent {
  event: "model-ready";
  stream: "model-events";
  /** the model */
  model_name: string;
  /** its version */
  version: string;
  /** where its files are */
  registry_path?: string;
  /** what the registry says of it */
  metadata?: Record<string, unknown>;
  /** how well it did in evaluation */
  metrics?: Record<string, unknown>;
  /** what it does, for example `classifier` */
  model_type?: string;
  /** share of right answers in evaluation, 0 to 1 */
  accuracy?: number;
  /** size of its files, in megabytes */
  size_mb?: number;
}

/** a model was loaded */
export interface ModelLoadedEvent extends AnyEvent {
  event: "model-loaded";
  stream: "model-events";
  /** the model */
  model_name: string;
  /** its version */
  version?: string;
  /** its state, for example `loaded` */
  status?: string;
  /** how long loading took, in milliseconds */
  load_time_ms?: number;
  /** where its files are kept on the host */
  cache_location?: string;
  /** why it is not loaded */
  error?: string;
}

/** a model could not be loaded */
export interface ModelFailedEvent extends AnyEvent {
  event: "model-failed";
  stream: "model-events";
  /** the model */
  model_name: string;
  /** its version */
  version?: string;
  /** its state, for example `loaded` */
  status?: string;
  /** how long loading took, in milliseconds */
  load_time_ms?: number;
  /** where its files are kept on the host */
  cache_location?: string;
  /** why it is not loaded */
  error?: string;
}

/** the state of a model */
export interface ModelStatusEvent extends AnyEvent {
  event: "model-status";
  stream: "model-events";
  /** the model */
  model_name: string;
  /** its version */
  version?: string;
  /** its state, for example `loaded` */
  status?: string;
  /** how long loading took, in milliseconds */
  load_time_ms?: number;
  /** where its files are kept on the host */
  cache_location?: string;
  /** why it is not loaded */
  error?: string;
}

/** a model was replaced */
export interface ModelUpdatedEvent extends AnyEvent {
  event: "model-updated";
  stream: "model-events";
  /** the model */
  model_name: string;
  /** its version */
  version?: string;
  /** its state, for example `loaded` */
  status?: string;
  /** how long loading took, in milliseconds */
  load_time_ms?: number;
  /** where its files are kept on the host */
  cache_location?: string;
  /** why it is not loaded */
  error?: string;
}

/** a model should no longer be used */
export interface ModelDeprecatedEvent extends AnyEvent {
  event: "model-deprecated";
  stream: "model-events";
  /** the model */
  model_name: string;
  /** its version */
  version?: string;
  /** its state, for example `loaded` */
  status?: string;
  /** how long loading took, in milliseconds */
  load_time_ms?: number;
  /** where its files are kept on the host */
  cache_location?: string;
  /** why it is not loaded */
  error?: string;
}

/** a training run began */
export interface TrainingStartedEvent extends AnyEvent {
  event: "training-started";
  stream: "training-events";
  /** the model in training */
  model_name: string;
  /** the experiment the run is part of */
  experiment_id?: string;
  /** the run's state, for example `running` */
  status?: string;
  /** steps done */
  step?: number;
  /** share of the run done, 0 to 1 */
  progress?: number;
  /** loss, accuracy and the like at this step */
  metrics?: Record<string, unknown>;
  /** why the run failed */
  error?: string;
  /** the request that started the run */
  training_run_request_id?: string;
}

/** a training run went on */
export interface TrainingProgressEvent extends AnyEvent {
  event: "training-progress";
  stream: "training-events";
  /** the model in training */
  model_name: string;
  /** the experiment the run is part of */
  experiment_id?: string;
  /** the run's state, for example `running` */
  status?: string;
  /** steps done */
  step?: number;
  /** share of the run done, 0 to 1 */
  progress?: number;
  /** loss, accuracy and the like at this step */
  metrics?: Record<string, unknown>;
  /** why the run failed */
  error?: string;
  /** the request that started the run */
  training_run_request_id?: string;
}

/** a training run saved its state */
export interface TrainingCheckpointEvent extends AnyEvent {
  event: "training-checkpoint";
  stream: "training-events";
  /** the model in training */
  model_name: string;
  /** the experiment the run is part of */
  experiment_id?: string;
  /** the run's state, for example `running` */
  status?: string;
  /** steps done */
  step?: number;
  /** share of the run done, 0 to 1 */
  progress?: number;
  /** loss, accuracy and the like at this step */
  metrics?: Record<string, unknown>;
  /** why the run failed */
  error?: string;
  /** the request that started the run */
  training_run_request_id?: string;
}

/** a training run ended well */
export interface TrainingCompleteEvent extends AnyEvent {
  event: "training-complete";
  stream: "training-events";
  /** the model in training */
  model_name: string;
  /** the experiment the run is part of */
  experiment_id?: string;
  /** the run's state, for example `running` */
  status?: string;
  /** steps done */
  step?: number;
  /** share of the run done, 0 to 1 */
  progress?: number;
  /** loss, accuracy and the like at this step */
  metrics?: Record<string, unknown>;
  /** why the run failed */
  error?: string;
  /** the request that started the run */
  training_run_request_id?: string;
}

/** a training run ended badly */
export interface TrainingFailedEvent extends AnyEvent {
  event: "training-failed";
  stream: "training-events";
  /** the model in training */
  model_name: string;
  /** the experiment the run is part of */
  experiment_id?: string;
  /** the run's state, for example `running` */
  status?: string;
  /** steps done */
  step?: number;
  /** share of the run done, 0 to 1 */
  progress?: number;
  /** loss, accuracy and the like at this step */
  metrics?: Record<string, unknown>;
  /** why the run failed */
  error?: string;
  /** the request that started the run */
  training_run_request_id?: string;
}

/** a task was created */
export interface TaskCreatedEvent extends AnyEvent {
  event: "task-created";
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** work on a task began */
export interface TaskStartedEvent extends AnyEvent {
  event: "task-started";
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** a task was changed */
export interface TaskUpdatedEvent extends AnyEvent {
  event: "task-updated";
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** a task was completed */
export interface TaskCompletedEvent extends AnyEvent {
  event: "task-completed";
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** a task failed */
export interface TaskFailedEvent extends AnyEvent {
  event: "task-failed";
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** anything else that happened on the platform */
export interface OtherPlatformEvent extends AnyEvent {
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** an agent decided */
export interface AgiDecisionEvent extends AnyEvent {
  event: "agi-decision";
  stream: "agi-decisions";
  /** what was decided on */
  decision_type?: string;
  /** what is to be done */
  action?: Record<string, unknown>;
  /** who is to do it */
  target_service?: string;
  /** why */
  reasoning?: string;
  /** how sure the agent is, 0 to 1 */
  confidence?: number;
}

/** something went wrong */
export interface ErrorEvent extends AnyEvent {
  event: "error";
  stream: "error-events";
  /** the kind of error */
  error_type: string;
  /** what went wrong */
  error_message: string;
  /** where it went wrong */
  context?: Record<string, unknown>;
}

/** An event of model-events that is described; there may be others. */
export type ModelEvent =
  | ModelReadyEvent
  | ModelLoadedEvent
  | ModelFailedEvent
  | ModelStatusEvent
  | ModelUpdatedEvent
  | ModelDeprecatedEvent;

/** An event of inference-events that is described; there may be others. */
export type InferenceEvent =
  | InferenceCompleteEvent
  | InferenceFailedEvent;

/** An event of platform-events that is described; there may be others. */
export type PlatformEvent =
  | TaskCreatedEvent
  | TaskStartedEvent
  | TaskUpdatedEvent
  | TaskCompletedEvent
  | TaskFailedEvent
  | OtherPlatformEvent;

/** An event of training-events that is described; there may be others. */
export type TrainingEvent =
  | TrainingStartedEvent
  | TrainingProgressEvent
  | TrainingCheckpointEvent
  | TrainingCompleteEvent
  | TrainingFailedEvent;

/** The events of each stream. */
export interface Streams {
  "model-events": ModelEvent;
  "inference-events": InferenceEvent;
  "platform-events": PlatformEvent;
  "training-events": TrainingEvent;
  "agi-decisions": AgiDecisionEvent;
  "error-events": ErrorEvent;
}

/** A stream. */
export type StreamName = keyof Streams;

/** The same, by the name that events have on their way. */
export interface StreamEvents {
  "model-event": ModelEvent;
  "inference-event": InferenceEvent;
  "platform-event": PlatformEvent;
  "training-event": TrainingEvent;
  "agi-decision-event": AgiDecisionEvent;
  "error-event": ErrorEvent;
}

/** What takes them. */
export interface StreamEventHandlers {
  "model-event": (event: ModelEvent) => void;
  "inference-event": (event: InferenceEvent) => void;
  "platform-event": (event: PlatformEvent) => void;
  "training-event": (event: TrainingEvent) => void;
  "agi-decision-event": (event: AgiDecisionEvent) => void;
  "error-event": (event: ErrorEvent) => void;
}

/** See docs/close-codes.md. */
export type CloseCode = 3000 | 3001 | 3002 | 3003 | 3004 | 3005 | 3006 | 3500 | 3501 | 3502 | 3503;

/** The name of a close code. */
export type CloseReason =
  | "draining"
  | "slow_client"
  | "ping_timeout"
  | "token_expired"
  | "events_lost"
  | "unavailable"
  | "connect_timeout"
  | "unauthorized"
  | "protocol_error"
  | "message_too_large"
  | "too_many_messages";

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
