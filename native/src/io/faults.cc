#include "faults.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "failure.h"

namespace tierra::faults {
namespace {

constexpr std::size_t siteCount = static_cast<std::size_t>(Site::count_);
constexpr std::array<const char*, siteCount> names = {
    "io.setup", "io.register", "io.reserve", "io.read",       "io.write", "io.fsync",
    "arena.map", "cuda.alloc", "cuda.register", "lane.copy", "lane.update", "save.copy", "save.write", "save.fsync",
};

struct Rule {
  std::size_t site = siteCount;
  bool kill = false;
  bool slow = false;
  Fault fault;
  std::uint64_t k = 1;
  std::uint64_t every = 0;
  std::uint64_t from = 0;
};

std::array<std::atomic<std::uint64_t>, siteCount> counters{};
std::atomic<bool> armed{false};
std::mutex mutex;
std::vector<Rule> rules;

[[noreturn]] void refuse(const std::string& plan, const std::string& why) {
  fail("E_CONFIG", "TIERRA_FAULT '" + plan + "' cannot be read: " + why,
       "The form is site:kind@k=n, several joined by ';', for example io.write:EIO@k=7.");
}

std::uint64_t number(const std::string& plan, const std::string& text) {
  char* end = nullptr;
  const auto value = std::strtoull(text.c_str(), &end, 10);
  if (text.empty() || *end != 0) refuse(plan, "'" + text + "' is not a count");
  return value;
}

int errnoNamed(const std::string& name) {
  for (int error = 1; error < 200; ++error) {
    const char* known = strerrorname_np(error);
    if (known && name == known) return error;
  }
  return 0;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (;;) {
    const auto end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) return parts;
    begin = end + 1;
  }
}

/// Nothing for a site that is not ours or a rank that is not this one.
std::optional<Rule> parse(const std::string& plan, const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos) refuse(plan, "'" + text + "' has no ':'");
  const std::string site = text.substr(0, colon);
  const auto at = text.find('@', colon);
  const std::string kind = text.substr(colon + 1, at == std::string::npos ? at : at - colon - 1);
  Rule rule;
  for (std::size_t i = 0; i < siteCount; ++i) {
    if (site == names[i]) rule.site = i;
  }
  bool here = true;
  if (at != std::string::npos) {
    for (const auto& setting : split(text.substr(at + 1), ',')) {
      const auto equals = setting.find('=');
      const std::string key = setting.substr(0, equals);
      const std::string value = equals == std::string::npos ? "" : setting.substr(equals + 1);
      if (key == "k") rule.k = number(plan, value);
      else if (key == "every") rule.every = number(plan, value);
      else if (key == "from") rule.from = number(plan, value);
      else if (key == "rank") here = std::getenv("RANK") && number(plan, value) == number(plan, std::getenv("RANK"));
      else refuse(plan, "'" + setting + "' is none of k=, every=, from=, rank=");
    }
  }
  if (rule.site == siteCount || !here) return std::nullopt;
  if (kind == "kill") rule.kill = true;
  else if (kind == "slow") rule.slow = true;
  else if (kind == "short") rule.fault.isShort = true;
  else if ((rule.fault.error = errnoNamed(kind)) == 0) refuse(plan, "'" + kind + "' is no errno name, 'short', 'slow' or 'kill'");
  return rule;
}

bool applies(const Rule& rule, std::uint64_t n) {
  if (rule.every > 0) return n % rule.every == 0;
  if (rule.from > 0) return n >= rule.from;
  return n == rule.k;
}

/// The variable is read once, when the addon loads; a plan that cannot be read must not pass for an undisturbed run.
const bool fromEnvironment = [] {
  const char* plan = std::getenv("TIERRA_FAULT");
  if (!plan || !*plan) return false;
  try {
    arm(plan);
  } catch (const NativeError& error) {
    std::fprintf(stderr, "tierra: %s\n", error.message.c_str());
    std::abort();
  }
  return true;
}();

}  // namespace

std::optional<Fault> hit(Site site) {
  const auto index = static_cast<std::size_t>(site);
  const auto n = counters[index].fetch_add(1, std::memory_order_relaxed) + 1;
  if (!armed.load(std::memory_order_acquire)) return std::nullopt;
  std::unique_lock lock(mutex);
  for (const auto& rule : rules) {
    if (rule.site != index || !applies(rule, n)) continue;
    if (rule.kill) std::raise(SIGKILL);
    if (rule.slow) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      return std::nullopt;
    }
    return rule.fault;
  }
  return std::nullopt;
}

void arm(const std::string& plan) {
  std::vector<Rule> parsed;
  if (!plan.empty()) {
    for (const auto& text : split(plan, ';')) {
      if (auto rule = parse(plan, text)) parsed.push_back(*rule);
    }
  }
  std::lock_guard lock(mutex);
  rules = std::move(parsed);
  for (auto& counter : counters) counter.store(0, std::memory_order_relaxed);
  armed.store(!rules.empty(), std::memory_order_release);
}

std::uint64_t hits(const std::string& site) {
  for (std::size_t i = 0; i < siteCount; ++i) {
    if (site == names[i]) return counters[i].load(std::memory_order_relaxed);
  }
  fail("E_ARGUMENT", "there is no native fault site '" + site + "'");
}

std::vector<std::string> siteNames() { return {names.begin(), names.end()}; }

}  // namespace tierra::faults
