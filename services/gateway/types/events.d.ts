// The events of all streams. Written by `make types` from the schema of the events; a test keeps it so.

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

/** What the following events of inference-events have in common. */
export interface InferenceEventsFields extends AnyEvent {
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

/** a model answered a request */
export interface InferenceCompleteEvent extends InferenceEventsFields {
  event: "inference-complete";
}

/** a model did not answer a request */
export interface InferenceFailedEvent extends InferenceEventsFields {
  event: "inference-failed";
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

/** What the following events of model-events have in common. */
export interface ModelEventsFields extends AnyEvent {
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

/** a model was loaded */
export interface ModelLoadedEvent extends ModelEventsFields {
  event: "model-loaded";
}

/** a model could not be loaded */
export interface ModelFailedEvent extends ModelEventsFields {
  event: "model-failed";
}

/** the state of a model */
export interface ModelStatusEvent extends ModelEventsFields {
  event: "model-status";
}

/** a model was replaced */
export interface ModelUpdatedEvent extends ModelEventsFields {
  event: "model-updated";
}

/** a model should no longer be used */
export interface ModelDeprecatedEvent extends ModelEventsFields {
  event: "model-deprecated";
}

/** What the following events of training-events have in common. */
export interface TrainingEventsFields extends AnyEvent {
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

/** a training run began */
export interface TrainingStartedEvent extends TrainingEventsFields {
  event: "training-started";
}

/** a training run went on */
export interface TrainingProgressEvent extends TrainingEventsFields {
  event: "training-progress";
}

/** a training run saved its state */
export interface TrainingCheckpointEvent extends TrainingEventsFields {
  event: "training-checkpoint";
}

/** a training run ended well */
export interface TrainingCompleteEvent extends TrainingEventsFields {
  event: "training-complete";
}

/** a training run ended badly */
export interface TrainingFailedEvent extends TrainingEventsFields {
  event: "training-failed";
}

/** What the following events of platform-events have in common. */
export interface PlatformEventsFields extends AnyEvent {
  stream: "platform-events";
  /** the service in which it happened */
  service: string;
  /** what was done */
  action: string;
  /** to what: `task_id`, `result` (the task's version), `error` (the reason) */
  data?: Record<string, unknown>;
}

/** a task was created */
export interface TaskCreatedEvent extends PlatformEventsFields {
  event: "task-created";
}

/** work on a task began */
export interface TaskStartedEvent extends PlatformEventsFields {
  event: "task-started";
}

/** a task was changed */
export interface TaskUpdatedEvent extends PlatformEventsFields {
  event: "task-updated";
}

/** a task was completed */
export interface TaskCompletedEvent extends PlatformEventsFields {
  event: "task-completed";
}

/** a task failed */
export interface TaskFailedEvent extends PlatformEventsFields {
  event: "task-failed";
}

/** anything else that happened on the platform */
export interface OtherPlatformEvent extends PlatformEventsFields {
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
export type CloseCode = 3000 | 3001 | 3002 | 3003 | 3004 | 3005 | 3006 | 3500 | 3501 | 3502 | 3503 | 3504;

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
  | "too_many_messages"
  | "too_many_connections";
