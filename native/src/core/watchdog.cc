#include "core/watchdog.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>

#include "core/error.h"
#include "core/js.h"
#include "executor/executor.h"

namespace tierra {
namespace {

using Clock = std::chrono::steady_clock;

/// Never destroyed: its thread may outlive the statics of other files.
class Watchdog {
 public:
  static Watchdog& instance() {
    static auto& one = *new Watchdog;
    return one;
  }

  void start(double seconds) {
    stop();
    std::lock_guard lock(mutex_);
    limit_ = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    stopping_ = false;
    noteBeat("start");
    running_.store(true);
    thread_ = std::thread([this] { watch(); });
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      running_.store(false);
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  bool running() const { return running_.load(std::memory_order_relaxed); }

  void beat(std::string text) {
    std::lock_guard lock(mutex_);
    noteBeat(std::move(text));
  }

 private:
  void noteBeat(std::string text) {
    text_ = std::move(text);
    last_ = Clock::now();
    // The first report after `limit_`, the next after twice that, and so on: one stuck step does not fill a disk.
    due_ = last_ + limit_;
  }

  void watch() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const auto until = due_;
      if (Clock::now() < until) {
        wake_.wait_until(lock, until, [this] { return stopping_; });
        continue;
      }
      const auto waited = Clock::now() - last_;
      due_ = Clock::now() + waited;
      const std::string doing = text_;
      lock.unlock();
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(waited).count();
      const std::string report = "tierra: no progress for " + std::to_string(seconds) + " s in: " + doing + "\n" +
                                 executor::describePending(12);
      // One write, past every buffer that a stuck thread may hold.
      [[maybe_unused]] const auto put = ::write(STDERR_FILENO, report.data(), report.size());
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread thread_;
  std::atomic<bool> running_{false};
  bool stopping_ = false;
  Clock::duration limit_{};
  Clock::time_point last_;
  Clock::time_point due_;
  std::string text_;
};

napi_value watchdogStart(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const double seconds = args.number(0, "seconds");
  if (!(seconds > 0)) fail("E_ARGUMENT", "a watchdog waits for a time above 0");
  Watchdog::instance().start(seconds);
  return nullptr;
}

napi_value watchdogStop(napi_env, napi_callback_info) {
  Watchdog::instance().stop();
  return nullptr;
}

napi_value watchdogBeat(napi_env env, napi_callback_info info) {
  if (!Watchdog::instance().running()) return nullptr;
  const js::Args args(env, info);
  Watchdog::instance().beat(args.text(0, "text"));
  return nullptr;
}

// The second signal of a kind ends the process, whatever the JavaScript thread is doing. The first goes on to whoever
// handled it before: Node.
constexpr std::array<int, 2> signals = {SIGINT, SIGTERM};
struct sigaction handledBefore[NSIG];
std::atomic<int> signalsSeen{0};
bool guarding = false;

void onSignal(int signal, siginfo_t* info, void* context) {
  if (signalsSeen.fetch_add(1) > 0) {
    static constexpr char showCursor[] = "\x1b[?25h";
    if (::isatty(STDOUT_FILENO)) {
      [[maybe_unused]] const auto put = ::write(STDOUT_FILENO, showCursor, sizeof showCursor - 1);
    }
    ::_exit(128 + signal);
  }
  const struct sigaction& before = handledBefore[signal];
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_IGN && before.sa_handler != SIG_DFL) {
    before.sa_handler(signal);
  }
}

napi_value quitOnSecondSignal(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const bool on = args.flag(0, "on");
  if (on == guarding) return nullptr;
  guarding = on;
  signalsSeen.store(0);
  for (const int signal : signals) {
    if (!on) {
      sigaction(signal, &handledBefore[signal], nullptr);
      continue;
    }
    struct sigaction ours{};
    ours.sa_sigaction = onSignal;
    ours.sa_flags = SA_SIGINFO | SA_RESTART;
    sigfillset(&ours.sa_mask);
    sigaction(signal, &ours, &handledBefore[signal]);
  }
  return nullptr;
}

}  // namespace

void stopWatchdog() { Watchdog::instance().stop(); }

void registerWatchdog(napi_env env, napi_value exports) {
  js::expose<watchdogStart>(env, exports, "watchdogStart");
  js::expose<watchdogStop>(env, exports, "watchdogStop");
  js::expose<watchdogBeat>(env, exports, "watchdogBeat");
  js::expose<quitOnSecondSignal>(env, exports, "quitOnSecondSignal");
}

}  // namespace tierra
