// Address ranges that are cut, merged and handed out again, so that what fits once fits ever after: a loop that repeats
// asks the system for memory in its first rounds only, however tight its cap is.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace tierra {

/// Not thread-safe. Sizes are multiples of 64. "Committed" bytes have been written to since they were last given back: they
/// count as memory, address space alone does not.
class Heap {
 public:
  struct Taken {
    char* data = nullptr;   // null: the system refused
    std::size_t grown = 0;  // bytes committed for it
  };

  /// From committed memory only: the smallest range that fits, or null.
  char* takeCommitted(std::size_t bytes);
  /// Commits what is missing; at most `bytes` and a page.
  Taken takeGrowing(std::size_t bytes);
  /// Merges with its neighbours. May throw std::bad_alloc.
  void give(char* data, std::size_t bytes);
  /// Gives whole pages of free committed ranges back to the system, the largest first, until that is `bytes`.
  std::size_t release(std::size_t bytes);

 private:
  struct Free {
    std::size_t bytes;
    bool isCommitted;
  };
  using Ranges = std::map<char*, Free>;

  void insert(char* data, Free free);
  void erase(Ranges::iterator range);
  void add(char* data, std::size_t bytes, bool isCommitted);
  bool mapMore(std::size_t bytes);
  std::set<std::pair<std::size_t, char*>>& sizes(bool isCommitted) { return isCommitted ? committed_ : fresh_; }

  Ranges ranges_;  // by address; neighbours of one kind are merged
  std::set<std::pair<std::size_t, char*>> committed_;
  std::set<std::pair<std::size_t, char*>> fresh_;
};

}  // namespace tierra
