#include "coordinator/participants.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"
#include "txn/footprint.h"

namespace quorate::coordinator {
namespace {

Span ToSpan(const v1::KeySpan& span) { return {span.from(), span.to()}; }

// Answers that say neither a fact nor that it will not be prepared.
bool SaysNothing(v1::ErrorCode code) {
  switch (code) {
    case v1::NOT_LEADER:
    case v1::UNAVAILABLE:
    case v1::DEADLINE_EXCEEDED:
    case v1::CANCELLED:
    case v1::INTERNAL:
    case v1::IO_ERROR:
    case v1::CORRUPTION:
    case v1::WRONG_NODE:
    case v1::WRONG_CLUSTER:
    case v1::UNINITIALIZED:
    case v1::OK:  // without a state: not an answer of ours
      return true;
    default:
      return false;
  }
}

template <class Response>
PartAnswer Convert(const Response& response) {
  switch (response.state()) {
    case v1::PREPARED:
      return {.kind = PartAnswer::Kind::kPrepared, .ts = Timestamp(response.prepare_ts())};
    case v1::COMMITTED:
      return {.kind = PartAnswer::Kind::kCommitted, .ts = Timestamp(response.commit_ts())};
    case v1::ABORTED_STATE:
      return {.kind = PartAnswer::Kind::kAborted};
    default:
      break;
  }
  if (SaysNothing(response.error().code())) return {};
  const Status status = StatusFromError(response.error());
  return {.kind = PartAnswer::Kind::kRefused, .code = status.code(), .why = status.message()};
}

size_t BytesOf(const v1::Write& write) { return write.key().size() + write.value().size(); }

// Of a shard: all of it, or the interval of one part.
struct Piece {
  const client::Route* route;
  Span span;
};

// The intervals of the parts, in order. `writes` are sorted.
std::vector<Piece> PiecesOf(const std::vector<client::Route>& routes,
                            const google::protobuf::RepeatedPtrField<v1::Write>& writes,
                            size_t bytes_max) {
  std::vector<Piece> pieces;
  auto write = writes.begin();
  for (const client::Route& route : routes) {
    pieces.push_back({&route, route.span});
    size_t bytes = 0;
    for (; write != writes.end() && route.span.Contains(std::string_view(write->key())); ++write) {
      const size_t more = BytesOf(*write);
      if (bytes > 0 && bytes + more > bytes_max) {
        PROBE("commit: a shard's part was divided");
        pieces.back().span.to = write->key();
        pieces.push_back({&route, {write->key(), route.span.to}});
        bytes = 0;
      }
      bytes += more;
    }
  }
  return pieces;
}

void FillCommon(const v1::CommitRequest& commit, v1::PrepareRequest* part) {
  part->set_txn_id(commit.txn_id());
  part->set_start_ts(commit.start_ts());
  *part->mutable_priority() = commit.priority();
  part->set_anchor_key(commit.anchor_key());
  part->set_name(commit.name());
  *part->mutable_tables() = commit.tables();
}

}  // namespace

PartAnswer ToAnswer(const v1::PrepareResponse& response) { return Convert(response); }
PartAnswer ToAnswer(const v1::QueryPrepareResponse& response) { return Convert(response); }

Participants::Participants(client::Caller& caller, ShardDirectory& directory, size_t part_bytes_max)
    : caller_(caller), directory_(directory), part_bytes_max_(part_bytes_max) {}

bool Participants::TooMuchForOne(const v1::CommitRequest& commit) const {
  if (commit.writes_size() < 2) return false;
  size_t bytes = 0;
  for (const v1::Write& write : commit.writes()) bytes += BytesOf(write);
  return bytes > part_bytes_max_;
}

bool Participants::Within(const v1::CommitRequest& commit, const Span& span) {
  for (const v1::KeySpan& read : commit.reads()) {
    if (!span.Contains(std::string_view(read.from())) ||
        !(span.to.empty() || (!read.to().empty() && read.to() <= span.to))) {
      return false;
    }
  }
  // Writes are sorted.
  return commit.writes().empty() ||
         (span.Contains(std::string_view(commit.writes(0).key())) &&
          span.Contains(std::string_view(commit.writes(commit.writes_size() - 1).key())));
}

v1::PrepareRequest Participants::OnePart(v1::CommitRequest* commit) {
  v1::PrepareRequest part;
  FillCommon(*commit, &part);
  std::vector<std::string_view> keys;
  keys.reserve(commit->writes_size());
  for (const v1::Write& write : commit->writes()) keys.push_back(write.key());
  std::vector<Span> guards;
  if (!commit->reads().empty()) {
    guards.reserve(commit->reads_size());
    for (const v1::KeySpan& read : commit->reads()) guards.push_back(ToSpan(read));
    guards = NormalizeSpans(std::move(guards));
  }
  std::string_view marker = keys.front();
  if (!guards.empty()) marker = std::min(marker, std::string_view(guards.front().from));
  part.set_marker_key(std::string(marker));
  part.set_digest(DigestOf(marker, keys, guards).value());
  for (const Span& guard : guards) {
    v1::KeySpan* span = part.add_guards();
    span->set_from(guard.from);
    span->set_to(guard.to);
  }
  part.mutable_writes()->Swap(commit->mutable_writes());
  return part;
}

Task<Result<std::vector<client::Route>>> Participants::RoutesOf(
    std::shared_ptr<v1::CommitRequest> commit, Instant deadline) {
  std::vector<Span> spans;
  for (const v1::KeySpan& read : commit->reads()) spans.push_back(ToSpan(read));
  for (const v1::Write& write : commit->writes()) spans.push_back(Span::OfKey(write.key()));
  std::map<std::string, client::Route> found;  // by start
  for (const Span& span : NormalizeSpans(std::move(spans))) {
    if (!found.empty() && found.rbegin()->second.span.Contains(span)) continue;
    auto routes = caller_.routes().Cover(span);
    if (!routes.has_value()) {
      auto fetched = co_await caller_.map().Cover(span, deadline);
      if (!fetched.ok()) co_return fetched.status();
      routes = std::move(*fetched);
    }
    for (client::Route& route : *routes) {
      std::string from = route.span.from;
      found.insert_or_assign(std::move(from), std::move(route));
    }
  }
  std::vector<client::Route> result;
  for (auto& [from, route] : found) {
    if (!result.empty() && result.back().span.Overlaps(route.span)) {
      co_return Status(Code::kStaleEpoch, "the shard map changed while it was read");
    }
    result.push_back(std::move(route));
  }
  co_return result;
}

Task<Result<std::vector<Part>>> Participants::Group(std::shared_ptr<v1::CommitRequest> commit,
                                                    ShardId own, Instant deadline) {
  // What this node serves is newer than what it heard.
  if (shard::Shard* shard = directory_.Find(own)) caller_.routes().Update(shard->descriptor());
  auto routes = co_await RoutesOf(commit, deadline);
  if (!routes.ok()) co_return routes.status();
  const std::vector<Piece> pieces = PiecesOf(*routes, commit->writes(), part_bytes_max_);
  std::vector<Span> spans;
  for (const Piece& piece : pieces) spans.push_back(piece.span);
  std::vector<Span> reads;
  for (const v1::KeySpan& read : commit->reads()) reads.push_back(ToSpan(read));
  std::vector<std::string_view> keys;
  for (const v1::Write& write : commit->writes()) keys.push_back(write.key());

  auto divided = DivideByShard(keys, reads, spans);
  CHECK(divided.has_value(), "routes that were asked for by key cover every key");
  std::vector<Part> parts;
  bool own_found = false;
  for (const FootprintPart& share : *divided) {
    if (share.writes.empty() && MUTANT("txn-readers-not-participants")) continue;
    auto part = std::make_shared<v1::PrepareRequest>();
    FillCommon(*commit, part.get());
    part->set_marker_key(share.marker_key);
    part->set_digest(share.digest.value());
    for (size_t index : share.writes) {
      part->add_writes()->Swap(commit->mutable_writes(static_cast<int>(index)));
    }
    for (const Span& guard : share.guards) {
      v1::KeySpan* span = part->add_guards();
      span->set_from(guard.from);
      span->set_to(guard.to);
    }
    const Piece& piece = pieces[share.shard];
    const bool is_own = piece.route->shard == own && piece.span.Contains(commit->anchor_key());
    parts.insert(is_own ? parts.begin() : parts.end(), std::move(part));
    own_found |= is_own;
  }
  if (!own_found) co_return Status(Code::kStaleEpoch, "the anchor key has left this shard");
  co_return parts;
}

bool Participants::Undivided(const v1::PrepareRequest& part) const {
  const client::Route* route = caller_.routes().Find(part.marker_key());
  if (route == nullptr) return false;
  for (const v1::Write& write : part.writes()) {
    if (!route->span.Contains(std::string_view(write.key()))) return false;
  }
  for (const v1::KeySpan& guard : part.guards()) {
    if (!route->span.Contains(ToSpan(guard))) return false;
  }
  return true;
}

Task<PartAnswer> Participants::Prepare(Part part, Timestamp min_ts, Instant deadline) {
  constexpr int kMapsMax = 3;  // in one call: a map that keeps changing is left to the next attempt
  for (int maps = 0; maps < kMapsMax; ++maps) {
    if (shard::Shard* shard = directory_.FindServing(part->marker_key())) {
      v1::PrepareRequest request = *part;
      request.set_min_ts(min_ts.bits());
      request.mutable_route()->set_shard_id(shard->id().value());
      request.mutable_route()->set_version(shard->descriptor().version());
      co_return ToAnswer(co_await shard->Prepare(std::move(request), deadline));
    }
    auto fill = [part, min_ts](const client::Route& route) {
      v1::NodeRequest request;
      v1::PrepareRequest* prepare = request.mutable_prepare();
      *prepare = *part;
      prepare->set_min_ts(min_ts.bits());
      client::SetRoute(route, prepare->mutable_route());
      return request;
    };
    const auto response = co_await caller_.CallShard(part->marker_key(), fill, deadline);
    if (!response.ok()) co_return PartAnswer{};
    const PartAnswer answer = ToAnswer(response->prepare());
    const bool stale =
        answer.kind == PartAnswer::Kind::kRefused && answer.code == Code::kStaleEpoch;
    if (!stale || !Undivided(*part)) co_return answer;
  }
  co_return PartAnswer{};
}

Task<PartAnswer> Participants::Query(shard::TxnName txn, shard::StagedParticipant participant,
                                     Instant deadline) {
  v1::QueryPrepareRequest query;
  query.set_txn_id(std::string(txn.txn_id.bytes()));
  query.set_start_ts(txn.start_ts.bits());
  query.set_marker_key(participant.marker_key);
  query.set_digest(participant.digest.value());
  if (shard::Shard* shard = directory_.FindServing(participant.marker_key)) {
    query.mutable_route()->set_shard_id(shard->id().value());
    query.mutable_route()->set_version(shard->descriptor().version());
    co_return ToAnswer(co_await shard->QueryPrepare(std::move(query), deadline));
  }
  auto fill = [query = std::move(query)](const client::Route& route) {
    v1::NodeRequest request;
    *request.mutable_query_prepare() = query;
    client::SetRoute(route, request.mutable_query_prepare()->mutable_route());
    return request;
  };
  const auto response = co_await caller_.CallShard(participant.marker_key, fill, deadline);
  if (!response.ok()) co_return PartAnswer{};
  co_return ToAnswer(response->query_prepare());
}

}  // namespace quorate::coordinator
