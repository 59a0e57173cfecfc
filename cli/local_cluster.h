// LocalCluster: real node processes of this same program on loopback, for `dev` and `demo`.
//
// Node i (from 1) has DIR/node-i with its data and node.log, port PORT + i - 1, and HTTP on
// PORT + 1000 + i - 1. A node ends with its parent, whatever becomes of that. DIR/dev.lock is held
// while its nodes run: no other LocalCluster writes the same logs.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cli/admin.h"

namespace quorate::cli {

class LocalCluster {
 public:
  struct Options {
    std::string directory;
    int nodes = 3;
    int port = 7400;
  };
  explicit LocalCluster(Options options);
  // Kills what still runs.
  ~LocalCluster();

  // Starts all nodes. INVALID_ARGUMENT, before any: another cluster runs on the directory or has
  // one of the ports, or the data is of another number of nodes.
  Status Start();
  // Makes a cluster of them unless they are one already; waits until each answers and it is
  // healthy. `created` tells. FAILED_PRECONDITION, with its own words: one of them has ended.
  Status Init(Admin& admin, int shards, const std::vector<std::string>& split_at, bool* created);
  Status WaitHealthy(Admin& admin, Duration timeout);

  Status StartNode(int node);
  // One more, with an empty directory, that joins the others: its number, once it answers. Its
  // ports are those after the last node's.
  Result<int> AddNode(Admin& admin);
  void Kill(int node);  // SIGKILL, and waits for the end
  // SIGTERM to one, SIGKILL if it takes longer than `timeout`. Whether it stopped cleanly.
  bool StopNode(int node, Duration timeout);
  // SIGTERM to all, SIGKILL to those that take longer than `timeout`. Whether all stopped cleanly.
  bool Stop(Duration timeout);
  // Reaps; the number of a node that ended by itself, or 0.
  int FindDead();

  // Of one that has ended by itself: that, and its last words.
  std::string WhyEnded(int node) const;

  std::string address(int node) const;
  std::string http_address(int node) const;
  std::vector<std::string> addresses() const;
  // Of those that run.
  std::vector<std::string> running_addresses() const;
  std::string log_path(int node) const;
  bool running(int node) const { return processes_[static_cast<size_t>(node - 1)].pid > 0; }
  int size() const { return options_.nodes; }

 private:
  Status CheckSize() const;
  Status CheckPorts() const;
  Status LockDirectory();
  std::string DataPath(int node) const;
  bool WaitEnd(int node, Instant end);
  Status WaitAnswer(Admin& admin, int node);

  Options options_;
  std::string program_;
  struct Process {
    pid_t pid = 0;          // 0: not running
    int64_t log_begin = 0;  // where its own lines begin in the log
    int killed_by = 0;      // a signal, of one that ended by itself
  };
  std::vector<Process> processes_;
  int lock_ = -1;
};

}  // namespace quorate::cli
