// The service's macros and names come first, as glog's would; then quorate; then they are used.
#include <cstdio>
#include <sstream>
#include <string>

#include "base/check.h"

#define CHECK(condition) \
  if (!(condition)) std::ostringstream()
#define LOG(level) std::ostringstream()
#define PROBE(name) 1
#define MUTANT(name) 2
#define RETURN_IF_ERROR(expression) return (expression)
#define ASSIGN_OR_RETURN(left, right) left = (right)
#define STATUS_CONCAT(a, b) 3
struct Status {};
struct Database {};
struct Row {};
class Task {};
class Executor {};
enum LogLevel { kWarn };
namespace v1 {
struct Error {};
}  // namespace v1

#include <quorate/asio.h>
#include <quorate/database.h>
#include <quorate/options.h>
#include <quorate/task.h>
#include <quorate/transaction.h>

#include "proto/client.pb.h"
#include "proto/node.pb.h"
#include "proto/txn.pb.h"

int UsesItsOwnCheck();
quorate::client::CommitResult Rename(quorate::client::Database& database, const std::string& from,
                                     const std::string& to);

static int Macros() {
  CHECK(1 == 1) << "x";
  LOG(INFO) << "y";
  RETURN_IF_ERROR(PROBE("a") + MUTANT("b") + STATUS_CONCAT(a, b));
}

// outside CLUSTER: says "UNAVAILABLE" of a cluster that nobody serves.
int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int ours = 0;
  ASSIGN_OR_RETURN(ours, Macros());
  if (ours != 6 || ServiceCheck(true) != 1 || UsesItsOwnCheck() != 1) return 3;
  shop::Client client;
  client.set_name("a");
  shop::Txn txn;
  txn.set_name(client.name());
  shop::Node node;
  node.set_name(txn.name());
  if (node.GetDescriptor()->file()->name() != "proto/node.proto") return 4;
  quorate::client::Options options;
  options.cluster = {argv[1]};
  int lines = 0;
  options.log = [&lines](quorate::LogLevel, std::string_view) { ++lines; };
  auto database = quorate::client::Database::Open(options);
  if (!database.ok()) return 5;
  const auto result = Rename(**database, "a", "b");
  std::printf("%s\n", result.status.ToString().c_str());
  if ((*database)->MetricsText().find("quorate_client_commits_total 0") == std::string::npos) {
    return 6;
  }
  return result.status.code() == quorate::Code::kUnavailable ? 0 : 7;
}
