// TableCache: tables of the catalog by name, as far as they were asked for. Whoever asks for one
// that is not here waits for one question to placement that serves all who ask meanwhile. One that
// is here may be of an earlier version than the catalog's: shards refuse it if that matters
// (SCHEMA_FENCED), and Forget makes it be asked for again.
//
// Threads: executor's thread only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/env.h"
#include "client/open_table.h"
#include "client/route/caller.h"

namespace quorate::client {

class TableCache {
 public:
  // Outlived by both.
  TableCache(Env& env, Caller& caller);

  // NOT_FOUND: the catalog has none of this name, which is not remembered.
  Task<Result<OpenTablePtr>> Open(std::string name, Instant deadline);
  void Forget() { tables_.clear(); }

 private:
  Task<void> Fetch(std::string name);
  Task<Result<OpenTablePtr>> Ask(std::string name);

  Env& env_;
  Caller& caller_;
  std::map<std::string, OpenTablePtr> tables_;
  std::map<std::string, std::vector<Promise<Result<OpenTablePtr>>>> waiting_;
  TaskScope scope_;
};

}  // namespace quorate::client
