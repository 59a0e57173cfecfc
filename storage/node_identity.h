// Who a data directory belongs to: DIR/IDENTITY, a few text lines with a checksum.
//
//   quorate identity
//   format 1
//   cluster 3f2a...      32 hex digits, or "none" before the node belongs to a cluster
//   node 3               0 before the node belongs to a cluster
//   storage 91bc...      32 hex digits drawn when the directory was made: tells a node that came
//   back
//                        with an empty disk from the one that its peers knew
//   stopped clean        or "unclean": how the last run ended
//   crc 1a2b3c4d         CRC-32C of the lines above
//
// Written to a temporary file, synced, renamed, directory synced: a crash leaves the old one or the
// new one. On a full disk the reserve (low_space.h) is given up for who the directory belongs to,
// but how the last run ended is only for people: a node starts and stops without noting it. Every
// error is one line that says what to do.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/env.h"
#include "base/strong_type.h"
#include "storage/file.h"

namespace quorate::storage {

inline constexpr uint32_t kDataFormat = 2;

struct NodeIdentity {
  std::string cluster_id;  // 32 hex digits; empty: none yet
  NodeId node_id;
  std::string storage_id;
  bool clean_stop = false;
  friend bool operator==(const NodeIdentity&, const NodeIdentity&) = default;
};

// A new random 32-digit id.
std::string NewId(Random& random);

// A locked data directory. While it is open the file says "unclean", unless there was no room for
// the change.
class DataDirectory {
 public:
  // Creates the directory if it is missing; takes others' rights to it away. FAILED_PRECONDITION:
  // it holds something else than a node's data, of which nothing is changed; another process holds
  // it; or it was written by a newer version. CORRUPTION: the identity is damaged.
  static Result<std::unique_ptr<DataDirectory>> Open(Env& env, FileSystem& files, std::string path);

  const std::string& path() const { return path_; }
  // As found at Open (so `clean_stop` tells about the last run), with later assignments.
  const NodeIdentity& identity() const { return identity_; }

  // Makes the node a member for good; nothing is written if it is that one already. WRONG_CLUSTER
  // or WRONG_NODE: it is another one. After any error it is what it was.
  Status Assign(const std::string& cluster_id, NodeId node_id);
  // The same until the process ends, where another file says so at every start and there is no
  // room.
  void Assume(const std::string& cluster_id, NodeId node_id);
  // The last thing that a clean stop does. NO_SPACE: the file stays as it is.
  Status MarkCleanStop();

 private:
  DataDirectory(FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}
  // FAILED_PRECONDITION: there is something, and it is no node's.
  Status CheckOurs() const;
  // Whether what the file says is what TryStore(false) would write.
  Result<bool> Load(Random& random);
  // Gives the reserve up if need be.
  Status Store();
  Status TryStore(bool clean_stop);

  FileSystem& files_;
  const std::string path_;
  std::unique_ptr<DirectoryLock> lock_;
  NodeIdentity identity_;
};

}  // namespace quorate::storage
