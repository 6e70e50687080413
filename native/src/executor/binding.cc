#include "executor/binding.h"

#include "core/error.h"
#include "core/fields.h"
#include "core/js.h"
#include "core/watchdog.h"
#include "executor/executor.h"

namespace tierra {
namespace {

using namespace executor;

constexpr std::array<const char*, 4> stateNames = {"waiting", "ready", "running", "issued"};

Executor& executorOf(const js::Args& args) { return findExecutor(static_cast<ExecutorId>(args.integer(0, "executor"))); }

napi_value integer(napi_env env, std::uint64_t value) { return js::number(env, static_cast<double>(value)); }

std::vector<TicketId> idsOf(const js::Args& args, std::size_t index) {
  std::vector<TicketId> ids;
  for (const std::int64_t id : args.integers(index, "tickets")) {
    if (id < 1) fail("E_ARGUMENT", "a ticket id is a whole number from 1, got " + std::to_string(id));
    ids.push_back(static_cast<TicketId>(id));
  }
  return ids;
}

napi_value executorCreate(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const js::Fields fields(env, args[0]);
  return integer(env, createExecutor({static_cast<int>(fields.countOrNone("device")),
                                      static_cast<unsigned>(fields.count("updateThreads")), fields.count("scaleCells"),
                                      fields.count("timelineCapacity")}));
}

napi_value executorDestroy(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  destroyExecutor(static_cast<ExecutorId>(args.integer(0, "executor")));
  return nullptr;
}

napi_value submit(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  Executor& executor = executorOf(args);
  const uint32_t count = js::arrayLength(env, args[1], "tickets");
  std::vector<std::unique_ptr<Ticket>> tickets;
  tickets.reserve(count);
  for (uint32_t i = 0; i < count; ++i) tickets.push_back(readTicket(env, js::element(env, args[1], i)));
  executor.submit(std::move(tickets));
  return nullptr;
}

napi_value setScale(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  executorOf(args).setScale(static_cast<int>(args.integer(1, "cell")), args.number(2, "value"));
  return nullptr;
}

napi_value clearScale(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  executorOf(args).clearScale(static_cast<int>(args.integer(1, "cell")));
  return nullptr;
}

napi_value beginMoment(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  executorOf(args).beginMoment();
  return nullptr;
}

napi_value reachMoment(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  executorOf(args).reachMoment(args.integer(1, "moment"));
  return nullptr;
}

napi_value wait(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, executorOf(args).wait(idsOf(args, 1), args.text(2, "cause")));
}

napi_value drain(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, executorOf(args).drain());
}

napi_value isDone(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::boolean(env, executorOf(args).isDone(static_cast<TicketId>(args.integer(1, "ticket"))));
}

napi_value failed(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto failure = executorOf(args).failed();
  return failure ? toJsError(env, *failure) : js::null(env);
}

napi_value pending(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto tickets = executorOf(args).pending();
  napi_value list = js::array(env, tickets.size());
  for (std::size_t i = 0; i < tickets.size(); ++i) {
    const PendingTicket& ticket = tickets[i];
    napi_value made = js::object(env);
    js::set(env, made, "id", integer(env, ticket.id));
    js::set(env, made, "lane", js::text(env, laneNames[static_cast<std::size_t>(ticket.lane)]));
    js::set(env, made, "state", js::text(env, stateNames[static_cast<std::size_t>(ticket.state)]));
    js::set(env, made, "cause", js::text(env, ticket.cause));
    js::set(env, made, "chunk", integer(env, ticket.chunk));
    napi_value ids = js::array(env, ticket.tickets.size());
    for (std::size_t j = 0; j < ticket.tickets.size(); ++j) {
      js::setElement(env, ids, static_cast<uint32_t>(j), integer(env, ticket.tickets[j]));
    }
    js::set(env, made, "tickets", ids);
    js::set(env, made, "moment", js::number(env, static_cast<double>(ticket.moment)));
    js::set(env, made, "cell", js::number(env, ticket.cell));
    js::setElement(env, list, static_cast<uint32_t>(i), made);
  }
  return list;
}

const char* laneText(int lane) {
  if (lane == computeLane) return "compute";
  return lane == waitLane ? "wait" : laneNames[static_cast<std::size_t>(lane)];
}

napi_value timeline(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const TimelineReport report = executorOf(args).timeline();
  napi_value spans = js::array(env, report.spans.size());
  for (std::size_t i = 0; i < report.spans.size(); ++i) {
    const Span& span = report.spans[i];
    napi_value made = js::object(env);
    js::set(env, made, "lane", js::text(env, laneText(span.lane)));
    js::set(env, made, "name", js::text(env, span.name));
    js::set(env, made, "startUs", js::number(env, span.startUs));
    js::set(env, made, "durationUs", js::number(env, span.durationUs));
    js::set(env, made, "bytes", integer(env, span.bytes));
    js::set(env, made, "chunk", integer(env, span.chunk));
    js::set(env, made, "ticket", integer(env, span.ticket));
    js::setElement(env, spans, static_cast<uint32_t>(i), made);
  }
  napi_value busy = js::object(env);
  for (int lane = 0; lane <= computeLane; ++lane) {
    js::set(env, busy, laneText(lane), js::number(env, report.busyUs[static_cast<std::size_t>(lane)]));
  }
  napi_value made = js::object(env);
  js::set(env, made, "spans", spans);
  js::set(env, made, "busyUs", busy);
  js::set(env, made, "dropped", integer(env, report.dropped));
  return made;
}

napi_value now(napi_env env, napi_callback_info) { return js::number(env, nowUs()); }

/// Workers share the tables; the environment that opened the addon first takes them down.
void closeWithEnvironment(napi_env env) {
  static std::atomic<bool> taken{false};
  if (taken.exchange(true)) return;
  check(env, napi_add_env_cleanup_hook(
                 env,
                 [](void*) {
                   stopWatchdog();
                   destroyAllExecutors();
                   io::closeAllSwaps();
                 },
                 nullptr));
}

}  // namespace

void registerExecutors(napi_env env, napi_value exports) {
  closeWithEnvironment(env);
  js::expose<executorCreate>(env, exports, "executorCreate");
  js::expose<executorDestroy>(env, exports, "executorDestroy");
  js::expose<submit>(env, exports, "submit");
  js::expose<setScale>(env, exports, "setScale");
  js::expose<clearScale>(env, exports, "clearScale");
  js::expose<beginMoment>(env, exports, "beginMoment");
  js::expose<reachMoment>(env, exports, "reachMoment");
  js::expose<wait>(env, exports, "wait");
  js::expose<drain>(env, exports, "drain");
  js::expose<isDone>(env, exports, "isDone");
  js::expose<failed>(env, exports, "failed");
  js::expose<pending>(env, exports, "pending");
  js::expose<timeline>(env, exports, "timeline");
  js::expose<now>(env, exports, "nowUs");
}

}  // namespace tierra
